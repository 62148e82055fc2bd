"""The dataclass behind `split.*`: which share of the assets only test sets show."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Holdout:
    """The shares of font families, and of the canvases of each background source, that only test sets show.

    With `fonts` there is a split test_fonts in fonts that no other split uses, with `backgrounds` a split
    test_backgrounds. Both are as large as test.
    """

    fonts: Share = 0.0
    backgrounds: Share = 0.0
