"""Errors of the user's input, as opposed to bugs."""

from __future__ import annotations

import unicodedata


class UserError(ValueError):
    """A wrong input. The message says in one line what was given, what was expected and how to correct it.

    Commands print it and exit with code 2. Any other exception is a bug and keeps its traceback.
    """

    @property
    def summary(self) -> str:
        """The message as one line, for the command line."""
        return " ".join(str(self).split())


class SpecError(UserError):
    r"""A wrong spec. `str(error)` is one sentence, followed by the text and a caret if the error has a column.

    >>> from textgen.spec import Spec
    >>> Spec.parse("X[.Yk", label="X")
    Traceback (most recent call last):
    textgen.common.errors.SpecError: spec, column 2: '[' is never closed: add a ']', or write '\[' for a bracket
        X[.Yk
         ^
    """

    def __init__(self, summary: str, text: str = "", column: int = 0) -> None:
        # An ideographic space is as wide as an East Asian wide character: it keeps the caret below its column.
        wide = [unicodedata.east_asian_width(char) in "WF" for char in text[: column - 1]]
        caret = "".join("\u3000" if is_wide else " " for is_wide in wide) + "^"
        super().__init__(f"{summary}\n    {text}\n    {caret}" if column else summary)

    @property
    def summary(self) -> str:
        """The sentence alone. Columns in it count from 1."""
        return str(self).partition("\n")[0]
