"""Held-out assets: the dataclass behind the keys `split.*`."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Holdout:
    """The shares of font families, and of the canvases of each background source, that only test sets use.

    With `fonts` above 0, a split test_fonts uses only held-out fonts; with `backgrounds` above 0, a split
    test_backgrounds uses only held-out backgrounds. Both are as large as test.
    """

    fonts: Share = 0.0
    backgrounds: Share = 0.0
