"""Errors that a user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """What was given, what was expected and how to mend it, in one line.

    Entry points print it and exit with code 2. Anything else that is raised is a bug of ours and keeps its
    traceback.
    """

    @property
    def summary(self) -> str:
        """The message as one line, for the command line."""
        return " ".join(str(self).split())
