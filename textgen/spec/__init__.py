"""The spec language: it describes the texts of a game and the class of each text."""

from textgen.common.errors import SpecError
from textgen.spec.parser import Spec, parse_texts
from textgen.spec.values import OTHER

__all__ = ["OTHER", "Spec", "SpecError", "parse_texts"]
