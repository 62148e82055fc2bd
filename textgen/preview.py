"""`python -m textgen.preview game=…`: a contact sheet of a game's crops, a row a class, to look at before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import hydra
import numpy as np
from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from textgen import cli
from textgen.arrays import U8
from textgen.errors import UserError
from textgen.game import validated
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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/preview.yaml outside the groups `game` and `augment`."""

    each: Annotated[int, Field(ge=1, le=1000)]
    zoom: Annotated[int, Field(ge=1, le=16)]
    split: Literal["train", "val", "test"]
    out: Path | None
    seed: Annotated[int, Field(ge=0, lt=2**63)]


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="preview")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    s = validated(Settings, {k: v for k, v in c.items() if k not in ("game", "augment")})
    definition = definition_of(c, s.seed)
    path = s.out or Path(f"{definition.game.name}.png")
    renderer = definition.renderer()
    page = sheet(by_class(renderer, s.split, s.each), s.zoom)
    try:
        page.save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write the picture {path}: {error}; choose another with out=…") from None
    texts = ", ".join(repr(text) for text in renderer.render(s.split, range(3)).texts)
    print(f"{path}: {len(renderer.classes)} classes, texts such as {texts}")


def main() -> None:
    """The console script."""
    cli.run(_main)


if __name__ == "__main__":
    main()
