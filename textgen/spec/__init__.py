"""The spec language: which texts a game shows, and the class of each."""

from textgen.common.errors import SpecError
from textgen.spec.parser import OTHER, Spec, parse_texts

__all__ = ["OTHER", "Spec", "SpecError", "parse_texts"]
