"""`python -m textgen.preview game=…`: a contact sheet of a game's crops, a row a class, to look at before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont

from textgen import cli
from textgen.arrays import U8
from textgen.main import definition_of, plain
from textgen.render import Renderer

GAP = 3  # pixels between crops
INK, PAPER = (220, 220, 220), (24, 24, 24)


def sheet(rows: Sequence[tuple[str, Sequence[U8]]], zoom: int) -> Image.Image:
    """Rows of crops, uint8 (H, W, 3) each, with a title before every row. Pixels are `zoom` times as large."""
    font = ImageFont.load_default(12)
    margin = GAP + max(int(font.getlength(title)) for title, _ in rows) + 2 * GAP
    height = max(crop.shape[0] for _, crops in rows for crop in crops) * zoom + GAP
    width = max(sum(crop.shape[1] * zoom + GAP for crop in crops) for _, crops in rows)
    page = Image.new("RGB", (margin + width, len(rows) * height + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for number, (title, crops) in enumerate(rows):
        x, y = margin, GAP + number * height
        draw.text((GAP, y + height // 2), title, INK, font, anchor="lm")
        for crop in crops:
            page.paste(Image.fromarray(np.kron(crop, np.ones((zoom, zoom, 1), np.uint8))), (x, y))
            x += crop.shape[1] * zoom + GAP
    return page


def by_class(renderer: Renderer, split: str, each: int) -> list[tuple[str, list[U8]]]:
    """The first `each` crops of every class of a split, as rows for `sheet`."""
    classes = renderer.classes
    images = renderer.render(split, range(each * len(classes))).images
    return [(name, list(images[number :: len(classes)])) for number, name in enumerate(classes)]


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="preview")
def _main(config: DictConfig) -> None:
    c = plain(config)
    definition = definition_of(c, c["seed"])
    path = Path(c["out"] or f"{definition.game.name}.png")
    sheet(by_class(definition.renderer(), c["split"], c["each"]), c["zoom"]).save(path)
    print(path)


def main() -> None:
    """The console script."""
    cli.run(_main)


if __name__ == "__main__":
    main()
