"""The counter in the style of a game, as overlays that any background takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.assets.backgrounds import Source, parse_color
from textgen.common.array_types import F32, U8, Rng
from textgen.common.errors import UserError
from textgen.render.renderer import Renderer
from textgen.spec.items import Items, text_of

STYLES = 200  # tried at most, until all texts fit and are legible


@dataclass(frozen=True)
class Overlay:
    """A picture with opacity: drawn over a background b it gives `color` + `share` · b; float32 (H, W, 3) each."""

    color: F32
    share: F32

    def draw(self, background: U8) -> U8:
        """Draw over a background uint8 (H, W, 3)."""
        return np.clip(np.rint(self.color + self.share * background), 0, 255).astype(np.uint8)


def choose_panel(sources: Sequence[Source], rng: Rng) -> tuple[tuple[int, int, int], float]:
    """Colour and opacity of the panel behind the counter: those of a tint of the game's backgrounds, 0 without any."""
    tinted = [source.background for source in sources if source.background.tint]
    if not tinted:
        return (0, 0, 0), 0.0
    background = tinted[int(rng.integers(len(tinted)))]
    low, high = background.tint_opacity
    return parse_color(background.tint[int(rng.integers(len(background.tint)))]), float(rng.uniform(low, high))


def draw_overlays(
    renderer: Renderer, texts: Sequence[Items], zoom: int, is_legible: Callable[[Sequence[Overlay]], bool]
) -> dict[str, Overlay]:
    """An overlay of each of `texts`, `zoom` times the size of a crop, all in one style of the game.

    It is the first one in which all texts fit and `is_legible`. Raises `UserError` if there is none.
    """
    for number in range(STYLES):
        sample = renderer.render("train", [number]).samples
        found: dict[str, Overlay] = {}
        for items in texts:
            overlay = _draw_overlay(renderer, items, sample, zoom)
            if overlay is None:
                break
            found[text_of(items)] = overlay
        else:
            if is_legible(list(found.values())):
                return found
    raise UserError(
        f"game {renderer.game.name}: in {STYLES} styles there is none in which every text of the stream fits and can be"
        " read on its backgrounds: give another seed=…, or make text.height smaller"
    )


def _draw_overlay(renderer: Renderer, items: Items, sample: NDArray[Any], zoom: int) -> Overlay | None:
    """Drawn over black and over white, which tells colour and opacity apart."""
    canvas = np.zeros((*renderer.game.size, 3), np.uint8)
    black, white = (renderer.draw_text(items, sample, canvas + level) for level in (np.uint8(0), np.uint8(255)))
    if black is None or white is None:
        return None
    size = (zoom * canvas.shape[1], zoom * canvas.shape[0])
    color, over_white = (
        np.asarray(cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), np.float32)
        for plane in (black, white)
    )
    return Overlay(color, (over_white - color) / np.float32(255))
