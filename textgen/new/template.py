"""The text of a new game file: YAML with a comment on every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from textgen.common.errors import UserError

MEASURED = {
    "narrow": "  # measured: height, colors, x, y, contrast, and outline or shadow",
    "broad": "  # what was measured has the most weight; what it leaves open is broad",
}
READ_ONE = "the field to be read: its values are the classes"
READ_SEVERAL = "the fields to be read, each with classes of its own; see docs/how-to/several_fields.md"
RESERVED = ("n", "y", "no", "yes", "on", "off", "true", "false", "null")  # read as no text
EXTRA = {  # settings of a text that are written where they are not the default, with their meaning
    "gradient": "from a colour of the text at the top to one of these at the bottom",
    "glow": "",
    "panel": "a box behind the text",
    "gaps": "room around characters that are no letters or digits, in heights of the text",
    "clip": "how far the text may reach beyond the edge of the crop, in heights of the text",
    "color_jitter": "",
    "opacity": "",
    "incomplete_fonts": "fonts without all characters are left out",
    "variants": "combinations of height and outline that each character is drawn in, at most",
}
EDGES = {  # examples for a text that has none
    "shadow": "{chance: 0.5, offset: [0.5, 1.5], blur: [0, 1], opacity: [0.4, 0.9]}",
    "outline": '{chance: 0.5, width: [0.5, 1], colors: ["#000000"]}',
}
TEMPLATE = """\
# Every key is explained in docs/reference/games.md. Lengths are pixels of the crop; a pair [a, b] is a range.
name: {name}
title: {title}  # for people

# The texts of the counter. A run of one capital is a field, all else is literal; see docs/reference/spec.md.{clock}
spec: {spec}
fields: {fields}  # the values of each field; those of a field that is not listed are digits
label: {label}  # {read}
other: {other}  # the texts of the last class, "other"; with "" its crops show no text

size: {size}  # height and width of a crop
images: {images}  # per class
arch: {arch}  # the network, see docs/reference/training.md

text:{measured}
  fonts: {text_fonts}  # families, tags, font files, or folders of them: ./myfonts/
  height: {text_height}  # of the digits
  colors: {text_colors}
  spacing: {text_spacing}  # added between letters, may be negative
  x: {text_x}  # position in the free space of the crop: 0 is left, 1 is right
  y: {text_y}  # 0 is top, 1 is bottom
  contrast: {text_contrast}  # the least contrast of a crop, in levels of 255
  {shadow}
  {outline}{extra}

# What is behind the text: scene, noise, gradient or panel, a tag of the pictures, or a folder of your own: ./frames/
# `tint` is a flat colour that is laid over it.
backgrounds:
{backgrounds}
"""


def format_game_file(game: Mapping[str, Any], clock_fields: str = "", measured: str = "") -> str:
    """Format `game`, a plain mapping with every key of the template, as a commented YAML file.

    Hydra reads the file as `game` again: texts are quoted, and "${", which Hydra would resolve, is escaped. Comments
    mention `clock_fields`, whose values are assumed, and how settings were `measured`: a key of MEASURED.
    """
    keys = {key: _format_value(value) for key, value in game.items()}
    keys |= {f"text_{key}": _format_value(value) for key, value in game["text"].items()}
    for name, example in EDGES.items():
        keys[name] = f"{name}: {_format_value(game['text'][name])}" if name in game["text"] else f"# {name}: {example}"
    extra = [
        f"\n  {name}: {_format_value(game['text'][name])}{f'  # {comment}' if comment else ''}"
        for name, comment in EXTRA.items()
        if name in game["text"]
    ]
    keys["extra"] = "".join(extra)
    keys["backgrounds"] = "\n".join(f"  - {_format_value(background)}" for background in game["backgrounds"])
    clock = f"\n# The values of {clock_fields} are assumed to be those of a clock: change `fields` if they are not."
    keys["clock"] = clock if clock_fields else ""
    keys["read"] = READ_ONE if re.fullmatch("[A-Z]", str(game["label"])) else READ_SEVERAL
    keys["measured"] = MEASURED.get(measured, "")
    return TEMPLATE.format(**keys)


def _format_value(value: object) -> str:
    """Format a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_format_key(key)}: {_format_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_format_value(inner) for inner in value) + "]"
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)\$\{", lambda found: rf"{found[1] * 2}\${{", value)
        style = "'" if "\\" in escaped else '"'  # single quotes leave backslashes as they are
        return yaml.safe_dump(escaped, default_style=style, allow_unicode=True, width=2**31).strip()
    return f"{value:g}"


def _format_key(key: str) -> str:
    """A key as YAML: paths of font files take quotes."""
    return key if re.fullmatch(r"[A-Za-z][\w-]*", key) and key.lower() not in RESERVED else _format_value(key)


def check_reads_back(text: str, game: Mapping[str, Any]) -> None:
    """Check that Hydra reads the file `text` as `game`. Raises `UserError` otherwise."""
    try:
        config = OmegaConf.create(text)
        read = OmegaConf.to_container(config, resolve=True)
        assert isinstance(read, dict)
        wrong = [key for key in game if read.get(key) != game[key]]
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"the arguments cannot be written as YAML: {error}") from None
    if wrong:
        raise UserError(f"Hydra would not read this {wrong[0]} from a game file as it is: choose another {wrong[0]}")
