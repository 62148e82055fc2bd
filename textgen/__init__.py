"""Labelled crops of game text from a short spec."""

from textgen.errors import SpecError, UserError
from textgen.store import open_dataset

__all__ = ["SpecError", "UserError", "open_dataset"]
