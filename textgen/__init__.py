"""Labelled crops of game text from a short spec."""

from textgen.common.errors import SpecError, UserError
from textgen.dataset.store import open_dataset

__all__ = ["SpecError", "UserError", "open_dataset"]
