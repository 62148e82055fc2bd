"""The command line of `foldtext new`, and the conversion of its options to keys of a game."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from textgen.common import cli
from textgen.common.errors import UserError
from textgen.new.defaults import CLOCK_VALUES, FONTS

FIELD_RUN = re.compile(r"\\.|([A-Z])\1*")  # a field of a spec as group 1 repeated, or an escaped character


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see foldtext new --help")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. Raises `UserError` for wrong arguments."""
    options = _build_parser().parse_args(arguments)
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(f"{argument!r} is not valid UTF-8") from None
    return options


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="foldtext new", description="Write a commented game file that can be previewed at once.")
    parser.add_argument("--version", action="version", version=cli.version())
    parser.add_argument("name", help="name of the file, the game and its data set")
    parser.add_argument("spec", help='the texts, such as "MM:SS" or "N/M"; see docs/reference/spec.md')
    parser.add_argument(
        "--label", required=True, action="append", help="the field to be read: MM or M; or several: M,S, all, or text"
    )
    parser.add_argument("--size", help="height and width of a crop in pixels: 15x35")
    parser.add_argument(
        "--field", action="append", default=[], metavar="M=00..60", help="values of a field: M=00..60,99"
    )
    parser.add_argument("--like", metavar="FOLDER", help="a folder of your own crops, from which settings are measured")
    parser.add_argument(
        "--fonts", help=f"families, tags, files or folders, separated by commas (default: {','.join(FONTS)})"
    )
    parser.add_argument(
        "--backgrounds", metavar="FOLDER", help="a folder of pictures of the game, such as frames, for the backgrounds"
    )
    parser.add_argument(
        "--narrow", action="store_true", help="with --like: only what was measured, no other fonts, colours and places"
    )
    parser.add_argument(
        "--no-system-fonts", action="store_true", help="with --like: search the font among those of foldtext alone"
    )
    parser.add_argument("--title", default="", help="a title for people")
    parser.add_argument("--dir", default="games", metavar="FOLDER", help="your folder of games (default: games)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    return parser


def parse_fields(spec: str, options: Sequence[str]) -> dict[str, Any]:
    """Convert `--field` options to the key `fields`, and add the values of a clock for its other fields.

    >>> parse_fields("N MM:SS", ["N=0..30,99", "MM=00..14"])
    {'N': ['0..30', '99'], 'M': '00..14', 'S': '00..59'}
    """
    fields: dict[str, list[str]] = {}
    for option in options:
        match = re.fullmatch(r"([A-Z])\1*=(.+)", option, re.DOTALL)
        if not match:
            raise UserError(f"--field {option!r} is not a field with its values: write it as --field M=00..60")
        values = match[2].split(",")
        for value in values:
            if bounds := re.fullmatch(r"(\d+)-(\d+)", value):
                corrected = f"{match[1]}={bounds[1]}..{bounds[2]}"
                raise UserError(f"--field {option!r} has the value {value!r}, which is a text: write {corrected}")
        fields.setdefault(match[1], []).extend(values)
    if ":" in re.sub(r"\]:0?\.[0-9]", "", spec):  # the colon of a probability is not part of the text
        for run in FIELD_RUN.finditer(spec):
            if run[0] in CLOCK_VALUES and run[1] not in fields:
                fields[run[1]] = [CLOCK_VALUES[run[0]]]
    return {letter: values[0] if len(values) == 1 else values for letter, values in fields.items()}


def parse_label(spec: str, label: str) -> str | list[str]:
    """Convert `--label` to the letter of a field, or of several: `MM` and `M` both name the field MM.

    >>> parse_label("MM:SS", "MM"), parse_label("MM:SS", "SSS"), parse_label("MM:SS", "MM,S")
    ('M', 'SSS', ['M', 'S'])
    """
    runs = {run[0] for run in FIELD_RUN.finditer(spec) if run[1]}
    listed = re.fullmatch(r"\[(.*)\]", label.strip())  # as in YAML
    parts = [part.strip() for part in (listed[1] if listed else label).split(",")]
    letters = [part[0] if part in runs else part for part in parts]
    return letters if listed or len(letters) > 1 else letters[0]


def parse_size(option: str | None) -> tuple[int, int] | None:
    """Convert `--size` to height and width."""
    if option is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4})[x×,]([0-9]{1,4})", option.strip())
    if not match:
        raise UserError(f"--size {option!r} is not a size: write height and width in pixels, such as 15x35")
    return int(match[1]), int(match[2])


def describe_unlisted_fields(spec: str, listed: set[str]) -> list[str]:
    """Give a note on fields without given values, as in "HP N/M": the capitals may be meant as literal letters."""
    letters = sorted({run[1] for run in FIELD_RUN.finditer(spec) if run[1]} - listed)
    if not letters:
        return []
    escaped = "".join(f"\\{letter}" for letter in letters)
    if len(letters) == 1:
        return [f"{letters[0]} in {spec!r} is a field of digits; for the letter itself write {escaped}"]
    return [f"{', '.join(letters)} in {spec!r} are fields of digits; for the letters themselves write {escaped}"]
