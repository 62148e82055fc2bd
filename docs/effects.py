"""Write docs/reference/effects.md and draw its pictures: `python docs/effects.py`, from the root of the checkout.

The page shows every text effect of a game and every degradation of a stream: six crops and the YAML of each.
docs/reference/effects/ has a picture per effect, docs/reference/effects.png is all of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from textgen.common.array_types import U8
from textgen.preview.contact_sheet import draw_contact_sheet
from textgen.render.renderer import Renderer
from textgen.schema.game import Game

CROPS, ZOOM, SKIP = 6, 2, 20
BASE: dict[str, Any] = {
    "name": "effects",
    "spec": "N/20",
    "fields": {"N": "10..99"},
    "label": "N",
    "size": [24, 52],
    "images": {"train": 1, "val": 1, "test": 1},
    "backgrounds": [{"source": "scene", "light": [0.5, 0.7]}],
}
TEXT: dict[str, Any] = {
    "fonts": ["fonts/oswald/oswald-500.ttf"],
    "height": [11, 11],
    "color_jitter": 0,
    "x": [0.5, 0.5],
    "y": [0.5, 0.5],
    "contrast": 40,
}
OUTLINED = {"colors": ["#ffcc40", "#ff5040"], "outline": {"width": [1, 1]}, "contrast": 5}
SHORT: dict[str, Any] = {"spec": "N", "text": {"height": [10, 10]}}  # leaves room beside the text
DIGITS: dict[str, Any] = {"spec": "1N/20"}
PAIRS: dict[str, Any] = {"spec": "N7.7", "fields": {"N": "70..79"}, "text": {"fonts": ["antonio"]}}

# For every effect: title, YAML below `text`, other keys of the game.
EFFECTS: list[tuple[str, str, dict[str, Any]]] = [
    ("plain", "", {}),
    ("height and place", "height: [6, 13]\nx: [0, 1]\ny: [0, 1]", {}),
    ("colours", 'colors: ["#ffffff", "#ffd97a", "#ff6a4d"]\ncolor_jitter: 16', {}),
    ("opacity", "opacity: [0.3, 0.8]", {"text": {"contrast": 18}}),
    ("outline", 'outline: {width: [0.5, 1.5], colors: ["#000000"]}', {}),
    ("shadow", "shadow: {offset: [1, 2], blur: [0, 1], opacity: [0.7, 1]}", {}),
    ("glow", 'glow: {blur: [1, 2], opacity: [0.7, 1], colors: ["#40a0ff"]}', {}),
    ("gradient", 'gradient: {colors: ["#d06000"]}', {}),
    ("letter spacing", "spacing: [-0.5, 3]", {"text": {"height": [9, 9]}}),
    ("kerning on", "kerning: true", PAIRS),
    ("kerning off", "kerning: false", PAIRS),
    ("slant", "slant: [-15, 15]", {}),
    ("panel with border", 'panel: {padding: [2, 4], colors: ["#0a1428"], border: ["#c8aa6e"]}', SHORT),
    ("icon", "icon: {source: [coin, clock, heart, star], gap: [1, 3]}", SHORT),
    ("neighbour", 'neighbour: {texts: ["+N", "\\\\H\\\\P"], gap: [2, 4]}', SHORT),
    (
        "smaller part",
        'parts: {T: {size: 0.6}, ".": {size: 0.6}}',
        {"spec": "M:N.TT", "fields": {"N": "00..59"}, "text": {"height": [10, 10]}},
    ),
    (
        "raised part",
        "parts: {T: {size: 0.55, align: top}}",
        {"spec": "M:NTT", "fields": {"N": "00..59"}, "text": {"height": [10, 10]}},
    ),
    ("two colours", 'parts: {N: {colors: ["#ffd040", "#ff5040"]}}', {}),
    (
        "icon between fields",
        'parts: {"*": {icon: [coin, heart], size: 1.1, align: middle}}',
        {"spec": "N * M", "text": {"height": [9, 9]}},
    ),
    ("old-style digits", "fonts: [alegreya-sans]", DIGITS),
    ("digits of one height and width", "fonts: [alegreya-sans]\nfeatures: [lnum, tnum]", DIGITS),
    ("variable font", "fonts: [archivo-variable]\naxes: {wght: [100, 900], wdth: [62, 125]}", SHORT),
]
STREAMS = [
    ("as drawn", "{}"),
    ("resize", "resize: {scale: [0.4, 0.7]}"),
    ("blur", "blur: {sigma: [0.6, 1.2]}"),
    ("light", "light: {brightness: 0.3, contrast: 0.4}"),
    ("noise", "noise: {deviation: [10, 30]}"),
    ("chroma", "chroma: {}"),
    ("jpeg", "jpeg: {quality: [10, 40]}"),
    ("h264", "h264: {crf: [30, 40]}"),
]
ABOUT = """# Effects

Each effect is a few lines of YAML. Every crop draws new values from the ranges. Most text effects and all degradations
also have a `chance`: the share of the crops that have it. Without it, as here, all crops do. [games.md](games.md) lists
every key. `python docs/effects.py` writes this page and draws its pictures; [effects.png](effects.png) has all of them.
"""
TEXT_HEAD = """
## Text

Keys below `text` in a game's file. `parts` names a field by its letter and a literal character as the spec has it: here
the specs are `M:N.TT`, `M:NTT`, `N/20` and `N * M`.

| effect | crops | YAML |
|---|---|---|
"""
STREAM_HEAD = """
## Stream

Keys of your own file `augment/<name>.yaml` in the folder of `--config-dir`, or on the command line
(`augment.blur.sigma=[0.6,1.2]`). The text is yellow or red with an outline, to show the effect on colours.

| degradation | crops | YAML |
|---|---|---|
"""


def main() -> None:
    """Write the page and its pictures."""
    Path("docs/reference/effects").mkdir(exist_ok=True)
    rows: list[tuple[str, list[U8]]] = []
    page = ABOUT + TEXT_HEAD
    for title, text, more in EFFECTS:
        game = {**BASE, **more, "text": {**TEXT, **more.get("text", {}), **(yaml.safe_load(text) or {})}}
        rows.append((title, render_crops(Renderer(Game.from_config(game)))))
        page += write_row(*rows[-1], text)
    page += STREAM_HEAD
    for title, stream in STREAMS:
        game = {**BASE, "text": {**TEXT, **OUTLINED}}
        rows.append((title, render_crops(Renderer(Game.from_config(game), augment=yaml.safe_load(stream)))))
        page += write_row(*rows[-1], stream)
    save_png(draw_contact_sheet(rows, ZOOM), "docs/reference/effects.png")
    Path("docs/reference/effects.md").write_text(page, encoding="utf-8")


def render_crops(renderer: Renderer) -> list[U8]:
    """Six crops with different texts."""
    first = SKIP % len(renderer.classes)
    return list(renderer.render("train", range(first, first + 7 * CROPS, 7)).images)


def write_row(title: str, images: list[U8], text: str) -> str:
    """Save the picture of one effect, and return its row of the table."""
    name = f"effects/{title.replace(',', '').replace(' ', '_')}.png"
    pixels = np.concatenate([np.pad(image, ((0, 0), (0, 1), (0, 0)), constant_values=255) for image in images], 1)
    wide = np.kron(pixels[:, :-1], np.ones((ZOOM, ZOOM, 1), np.uint8))
    save_png(Image.fromarray(wide), f"docs/reference/{name}")
    lines = "<br>".join(f"`{part}`" for part in text.splitlines()) or "nothing"
    return f"| {title} | ![{title}]({name}) | {lines} |\n"


def save_png(image: Image.Image, path: str) -> None:
    """Save a PNG of 256 colours, half the size of one with all colours."""
    image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=8, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
