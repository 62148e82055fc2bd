"""Errors that a user can mend."""

from __future__ import annotations

import unicodedata


class UserError(ValueError):
    """What was given, what was expected and how to mend it, in one line.

    Entry points print it and exit with code 2. Anything else that is raised is a bug of ours and keeps its
    traceback.
    """

    @property
    def summary(self) -> str:
        """The message as one line, for the command line."""
        return " ".join(str(self).split())


class SpecError(UserError):
    r"""A wrong spec. `str(error)` is one sentence, then a picture where a place in a text is to blame.

    >>> from textgen.spec import Spec
    >>> Spec.parse("X[.Yk", label="X")
    Traceback (most recent call last):
    textgen.common.errors.SpecError: spec, column 2: '[' is never closed: add a ']', or write '\[' for a bracket
        X[.Yk
         ^
    """

    def __init__(self, summary: str, text: str = "", column: int = 0) -> None:
        # An East Asian wide character is as wide as an ideographic space: the caret stays below its column.
        wide = [unicodedata.east_asian_width(char) in "WF" for char in text[: column - 1]]
        caret = "".join("\u3000" if is_wide else " " for is_wide in wide) + "^"
        super().__init__(f"{summary}\n    {text}\n    {caret}" if column else summary)

    @property
    def summary(self) -> str:
        """The sentence alone; it names the column, counted from 1."""
        return str(self).partition("\n")[0]
