"""`python -m textgen.new my_game "MM:SS" --label MM --size 15x35`: a commented game file that previews at once.

Not a Hydra shell, because it writes what Hydra reads.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from textgen.assets.catalogue import catalogue
from textgen.common import cli
from textgen.common.atomic import os_errors_as_user_errors, write_atomic
from textgen.common.errors import UserError
from textgen.new import measure
from textgen.render.renderer import Renderer
from textgen.schema.game import Game
from textgen.spec.parser import OTHER, Spec

CLOCK = {"HH": "00..23", "MM": "00..59", "SS": "00..59"}  # what a clock's runs mean, in a text with a colon
FONTS = ("oswald", "teko", "rajdhani", "roboto-condensed")  # condensed and plain, as most counters are
PLAIN_TEXT: dict[str, Any] = {
    "height": None,
    "colors": ["#ffffff"],
    "spacing": [0, 0],
    "x": [0.0, 1.0],
    "y": [0.0, 1.0],
    "contrast": 18,
}
PLAIN_GROUNDS: list[dict[str, Any]] = [
    {"source": "scene", "tint": ["#101418"], "tint_opacity": [0.1, 0.6]},
    {"source": "panel"},
]
RUN = re.compile(r"\\.|([A-Z])\1*")  # a field, or a character that a backslash makes a literal one
MAX_TRAIN = 100_000  # images of all classes that are proposed for training


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m textgen.new --help")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = _Parser(prog="python -m textgen.new", description="Write a commented game file that previews at once.")
    out.add_argument("name", help="names the file, the game and its data set")
    out.add_argument("spec", help='the texts, such as "MM:SS" or "N/M"; see docs/spec.md')
    out.add_argument("--label", required=True, help="the field that is to be read: MM or M")
    out.add_argument("--size", help="height and width of a crop in pixels: 15x35")
    out.add_argument("--field", action="append", default=[], metavar="M=00..60", help="values of a field: M=00..60,99")
    out.add_argument("--like", metavar="FOLDER", help="a folder of crops of your own, to be measured")
    out.add_argument("--fonts", help=f"families, tags, files or folders, by commas (default: {','.join(FONTS)})")
    out.add_argument("--title", default="", help="for people")
    out.add_argument("--dir", default="games", metavar="FOLDER", help="your folder of games (default: games)")
    out.add_argument("--force", action="store_true", help="write over a file that exists")
    return out


def create(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """Write the game file that the command line `arguments` describe: its path, and what to tell.

    Raises `UserError` for any mistake, before anything is written.
    """
    a = parser().parse_args(arguments)
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(f"{argument!r} is no UTF-8 text") from None
    _check_name(a.name)
    path = Path(a.dir).expanduser() / "game" / f"{a.name}.yaml"
    if path.exists() and not a.force:
        raise UserError(f"{path} exists: choose another name, or write over it with --force")

    fields = _fields(a.spec, a.field)
    label = a.label[0] if a.label in {run[0] for run in RUN.finditer(a.spec) if run[1]} else a.label
    spec = Spec.parse(a.spec, label=label, fields=fields)
    longest = max(len(text) for text in _samples(spec))
    size = _size(a.size)
    crops = measure.read_crops(Path(a.like).expanduser(), size) if a.like is not None else None
    size = size or (crops.size if crops else (20, min(max(7 * longest + 12, 20), 512)))
    train = min(1000, max(20, MAX_TRAIN // len(spec.classes)))
    game: dict[str, Any] = {
        "name": a.name,
        "title": a.title,
        "spec": a.spec,
        "fields": fields,
        "label": label,
        "other": "",
        "size": list(size),
        "images": {"train": train, "val": max(train // 10, 10), "test": max(train // 10, 10)},
        "arch": "C32 M B M C8 M F",
        "text": {**PLAIN_TEXT, "height": _height(size, longest)},
        "backgrounds": PLAIN_GROUNDS,
    }
    Game.from_config({**game, "text": {**game["text"], "fonts": ["-"]}})  # name and size, before anything is drawn
    game["text"] = {"fonts": _fonts(game, a.fonts), **game["text"]}
    notes = _letters(a.spec, {*fields, label})
    if crops:
        proposal = measure.proposal(crops, game)
        game["text"].update(proposal.text)
        game["backgrounds"], notes = proposal.backgrounds, proposal.notes
    wished = game["text"]["height"]
    game = _drawable(game)
    if crops and game["text"]["height"] != wished:
        notes.append(
            f"height {wished} and contrast were made smaller: other fonts or a longer spec do not fit these crops"
        )
    given = {option[0] for option in a.field}
    clock = " and ".join(letter for letter in fields if letter not in given)
    _write(path, _checked(to_yaml(game, clock=clock, measured=crops is not None), game))
    return path, notes


def _check_name(name: str) -> None:
    """Refuse names by which Hydra would not find the file; `Game` refuses those that make no file name."""
    if re.search(r"\.ya?ml$", name):
        raise UserError(f"the name is a game's, not a file's: write {re.sub(r'[.]ya?ml$', '', name)}")
    if files("conf").joinpath("game", f"{name}.yaml").is_file():
        raise UserError(f"{name} is one of foldtext's own games, which Hydra would find first: choose another name")
    try:
        value = OverridesParser.create().parse_override(f"game={name}").value()
    except HydraException:
        value = name  # not even a word: left to Game, which says what a name is made of
    if not isinstance(value, str):
        raise UserError(
            f"Hydra reads {name} as no word in game={name}: begin the name with a letter, and avoid true and null"
        )


def _letters(spec: str, meant: set[str]) -> list[str]:
    """A note on capitals that nobody said anything of, as in "HP N/M": they may be meant as they are."""
    plain = sorted({run[1] for run in RUN.finditer(spec) if run[1]} - meant)
    if not plain:
        return []
    escaped = "".join(f"\\{letter}" for letter in plain)
    stand = "stand" if len(plain) > 1 else "stands"
    return [f"{', '.join(plain)} in {spec!r} {stand} for digits; for the letters themselves write {escaped}"]


def _fields(spec: str, given: Sequence[str]) -> dict[str, Any]:
    """`--field` options as the key `fields`, and what a clock's letters mean where none is given."""
    fields: dict[str, list[str]] = {}
    for option in given:
        match = re.fullmatch(r"([A-Z])\1*=(.+)", option, re.DOTALL)
        if not match:
            raise UserError(f"--field {option!r} names no field and values: write --field M=00..60")
        values = match[2].split(",")
        for value in values:
            if between := re.fullmatch(r"(\d+)-(\d+)", value):
                mended = f"{match[1]}={between[1]}..{between[2]}"
                raise UserError(f"--field {option!r} holds {value!r}, which is a text: for a range write {mended}")
        fields.setdefault(match[1], []).extend(values)
    if ":" in re.sub(r"\]:0?\.[0-9]", "", spec):  # the colon of a chance is no text
        for run in RUN.finditer(spec):
            if run[0] in CLOCK and run[1] not in fields:
                fields[run[1]] = [CLOCK[run[0]]]
    return {letter: values[0] if len(values) == 1 else values for letter, values in fields.items()}


def _size(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4})[x×,]([0-9]{1,4})", given.strip())
    if not match:
        raise UserError(f"--size {given!r} is no size: write height and width in pixels, such as 15x35")
    return int(match[1]), int(match[2])


def _samples(spec: Spec) -> list[str]:
    """Texts of up to 60 classes, eight of each."""
    rng = np.random.default_rng(0)
    classes = [c for c in spec.classes if c != OTHER]
    chosen = {classes[round(i)] for i in np.linspace(0, len(classes) - 1, 60)} | {max(classes, key=len)}
    return [spec.sample(name, rng) for name in sorted(chosen) for _ in range(8)]


def _height(size: tuple[int, int], characters: int) -> list[float]:
    """Heights of digits that fit a crop with some room: a digit is about 0.6 of its height wide."""
    high = max(min(0.6 * size[0], 0.85 * size[1] / (0.6 * characters)), 5.0)
    return [max(round(1.4 * high) / 2, 4.0), round(2 * high) / 2]


def _fonts(game: Mapping[str, Any], given: str | None) -> list[str]:
    """The fonts that were asked for, else FONTS, or where these lack a glyph, a few of the catalogue that have all."""
    if given is not None:
        fonts = [font.strip() for font in given.split(",") if font.strip()]
        _renderer(game, fonts)
        return fonts
    try:
        _renderer(game, FONTS)
        return list(FONTS)
    except UserError as error:
        refusal = error.summary
    able: list[str] = []
    for family in dict.fromkeys([*FONTS, *catalogue("fonts")]):
        with contextlib.suppress(UserError):
            _renderer(game, [family])
            able.append(family)
        if len(able) == len(FONTS):
            break
    if not able:
        raise UserError(f"{refusal}; no family of foldtext has all glyphs: give fonts of your own, --fonts ./myfonts/")
    return able


def _renderer(game: Mapping[str, Any], fonts: Sequence[str]) -> Renderer:
    """A renderer on one cheap background, which raises `UserError` for fonts that cannot draw the spec."""
    text = {**game["text"], "fonts": list(fonts)}
    return Renderer(Game.from_config({**game, "text": text, "backgrounds": [{"source": "gradient"}]}))


def _drawable(game: dict[str, Any]) -> dict[str, Any]:
    """`game`, its text made lower and its least contrast smaller until the samples of a preview can be drawn."""
    while True:
        renderer = Renderer(Game.from_config(game))
        n = len(renderer.classes)
        try:
            renderer.render("train", sorted({round(i) for i in np.linspace(0, 2 * n - 1, 100)}))
            return game
        except UserError:
            low, high = game["text"]["height"]
            if high <= 4:
                raise
            lower = [max(round(1.7 * low) / 2, 4.0), max(round(1.7 * high) / 2, 4.0)]
            contrast = max(game["text"]["contrast"] - 3, 5)
            game = {**game, "text": {**game["text"], "height": lower, "contrast": contrast}}


def to_yaml(game: Mapping[str, Any], clock: str = "", measured: bool = False) -> str:
    """`game`, a plain mapping with every key of the template, as a commented YAML file; `clock` names proposed fields.

    Read by Hydra it gives `game` again: texts are quoted, and "${", which Hydra would resolve, is escaped.
    """
    keys = {key: _flow(value) for key, value in game.items()}
    keys |= {f"text_{key}": _flow(value) for key, value in game["text"].items()}
    keys["grounds"] = "\n".join(f"  - {_flow(ground)}" for ground in game["backgrounds"])
    keys["clock"] = f"\n# {clock} as on a clock: change what runs further." if clock else ""
    keys["measured"] = "  # height, colors, x, y and contrast were measured, the fonts are a guess" if measured else ""
    return TEMPLATE.format(**keys)


def _flow(value: object) -> str:
    """A value of a game as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)\$\{", lambda found: rf"{found[1] * 2}\${{", value)
        style = "'" if "\\" in escaped else '"'  # backslashes stand for themselves between single quotes
        return yaml.safe_dump(escaped, default_style=style, allow_unicode=True, width=2**31).strip()
    return f"{value:g}"


def _checked(text: str, game: Mapping[str, Any]) -> str:
    """`text`, if Hydra reads it as `game`. Raises `UserError` otherwise."""
    try:
        config = OmegaConf.create(text)
        missing = OmegaConf.missing_keys(config)  # "???" is Hydra's word for a value that is still to be given
        read = OmegaConf.to_container(config, resolve=True)
        assert isinstance(read, dict)
        wrong = [*sorted(map(str, missing)), *(key for key in game if read.get(key) != game[key])]
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"YAML cannot hold what was given: {error}") from None
    if wrong:
        raise UserError(f"a game file cannot hold this {wrong[0]}: Hydra reads it as something else; choose another")
    return text


def _write(path: Path, text: str) -> None:
    with os_errors_as_user_errors(path, OTHER_DIR):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode(), OTHER_DIR)


OTHER_DIR = "another folder with --dir"
TEMPLATE = """\
# Every key is explained in docs/games.md. Lengths are pixels of the crop; a pair [a, b] is a range.
name: {name}
title: {title}  # for people

# What the counter shows. A capital is a field, all else is itself; see docs/spec.md.{clock}
spec: {spec}
fields: {fields}  # what a letter stands for, by default its digits
label: {label}  # the field that is to be read: its values are the classes
other: {other}  # what crops of the last class, "other", show; "" is a blank piece of screen

size: {size}  # height and width of a crop
images: {images}  # of every class
arch: {arch}  # the network, see docs/training.md

text:{measured}
  fonts: {text_fonts}  # families, tags, font files, or folders of them: ./myfonts/
  height: {text_height}  # of the digits
  colors: {text_colors}
  spacing: {text_spacing}  # added between letters, may be negative
  x: {text_x}  # where in the room that the text leaves free: 0 is left, 1 is right
  y: {text_y}  # 0 is top, 1 is bottom
  contrast: {text_contrast}  # the least that a crop must have, in levels of 255
  # shadow: {{chance: 0.5, offset: [0.5, 1.5], blur: [0, 1], opacity: [0.4, 0.9]}}
  # outline: {{chance: 0.5, width: [0.5, 1], colors: ["#000000"]}}

# What lies under the text: scene, noise, gradient or panel, a tag of the pictures, or a folder of your own: ./frames/
# `tint` is a flat colour laid over it.
backgrounds:
{grounds}
"""


def main() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    cli.run(lambda: _main(arguments))


def _main(arguments: Sequence[str]) -> None:
    path, notes = create(arguments)
    folder, name = shlex.quote(str(path.parents[1])), path.stem
    for note in notes:
        print(note)
    spec = Game.from_config(OmegaConf.to_container(OmegaConf.load(path))).parse_spec()
    shown = ", ".join(repr(spec.sample(name, np.random.default_rng(0))) for name in spec.classes[:3])
    print(f"{shlex.quote(str(path))} is written: {len(spec.classes)} classes, texts such as {shown}.")
    print("Look at it, then train:")
    print(f"  python -m textgen.preview --config-dir {folder} game={name}")
    print(f"  python -m train --config-dir {folder} game={name} fold=4")
