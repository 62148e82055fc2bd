"""PyAV, FFmpeg's libraries for Python: an extra, imported when it is needed."""

from __future__ import annotations

from functools import cache
from typing import Any

from textgen.common.errors import UserError


@cache
def import_pyav(advice: str) -> Any:
    """The module av, silent. Raises `UserError` with `advice` if it is not installed.

    What FFmpeg would print is in the errors that are raised. PyAV's own handler of such lines takes Python's lock, and
    a decoder's thread that waits for it while the decoder is deleted hangs forever: level None installs none.
    """
    try:
        import av  # noqa: PLC0415
    except ImportError:
        raise UserError(advice) from None
    av.logging.set_level(None)
    return av
