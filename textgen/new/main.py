"""The command `foldtext new my_game "MM:SS" --label MM --size 15x35`: write a commented game file.

It does not read a Hydra configuration, because it writes one.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from omegaconf import OmegaConf

from textgen.common import cli
from textgen.common.atomic import os_errors_as_user_errors, write_atomic
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.fontsearch.picture import draw_comparison
from textgen.new import arguments as command_line
from textgen.new import defaults
from textgen.new.breadth import choose_best_fonts, widen
from textgen.new.crop_folder import CropFolder, read_crop_folder
from textgen.new.details import Details, measure_details
from textgen.new.network_size import choose_network_size, scale_game
from textgen.new.proposal import propose_settings
from textgen.new.template import check_reads_back, format_game_file
from textgen.render.renderer import Renderer
from textgen.schema.game import DEFAULT_ARCH, Game
from textgen.spec.labels import ALL, TEXT
from textgen.spec.parser import Spec

OTHER_DIR = "another folder with --dir"
GOOD_SCORE = 0.97  # of a font that is that of the crops, or hardly differs


def create(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """Write the game file that the command line `arguments` describes, and return its path and notes for the user.

    Raises `UserError` for wrong arguments, before anything is written.
    """
    options = command_line.parse_arguments(arguments)
    _check_name(options.name)
    path = Path(options.dir).expanduser() / "game" / f"{options.name}.yaml"
    if path.exists() and not options.force:
        raise UserError(f"{path} exists: choose another name, or overwrite it with --force")

    fields = command_line.parse_fields(options.spec, options.field)
    label = command_line.parse_label(options.spec, ",".join(options.label))
    spec = Spec.parse(options.spec, label=label, fields=fields)
    longest = defaults.measure_longest_text(spec)
    size = command_line.parse_size(options.size)
    crops = read_crop_folder(Path(options.like).expanduser(), size) if options.like is not None else None
    needed = choose_network_size(crops.images) if crops and not size else size
    size = size or (crops.size if crops else defaults.choose_size(longest))
    game: dict[str, Any] = {
        "name": options.name,
        "title": options.title,
        "spec": options.spec,
        "fields": fields,
        "label": label,
        "other": "",
        "size": list(size),
        "images": defaults.choose_images(spec.fields.period),
        "arch": defaults.JOINT_ARCH if spec.is_joint else DEFAULT_ARCH,
        "text": {**defaults.TEXT, "height": defaults.choose_height(size, longest)},
        "backgrounds": defaults.BACKGROUNDS,
    }
    Game.from_config({**game, "text": {**game["text"], "fonts": ["-"]}})  # checks name and size before fonts are loaded
    game["text"] = {"fonts": defaults.choose_fonts(game, options.fonts), **game["text"]}
    notes = command_line.describe_unlisted_fields(options.spec, {*fields, *([] if label in (ALL, TEXT) else label)})
    details = None
    if crops:
        count = len(crops.images)
        print(f"measuring {count} crops, and comparing their letters with fonts: about a minute", file=sys.stderr)
        details, notes = _measure(crops, game, spec, options)
        if needed and needed != crops.size:
            (height, width), (lower, narrower) = crops.size, needed
            kept = f"--size {height}x{width} keeps them"
            notes.append(f"crops of {height}x{width} are scaled to {lower}x{narrower}; {kept}")
            game = scale_game(game, needed)
    if options.backgrounds is not None:
        game["backgrounds"] = [*game["backgrounds"], _as_background(options.backgrounds, game["backgrounds"])]
    measured_height = game["text"]["height"]
    game = defaults.make_drawable(game)
    if crops and game["text"]["height"] != measured_height:
        notes.append(
            f"height {measured_height} and contrast were reduced: with these fonts and this spec the texts do not fit "
            "crops of this size"
        )
    given = {option[0] for option in options.field}
    clock_fields = " and ".join(letter for letter in fields if letter not in given)
    how = "" if crops is None else "narrow" if options.narrow else "broad"
    text = format_game_file(game, clock_fields, how)
    check_reads_back(text, game)
    _write(path, text.encode())
    if crops and details:
        picture = path.with_name(f"{path.stem}_fonts.png")
        _write(picture, _compare(crops, game, details))
        notes.append(f"{picture}: your crops beside drawn ones, and their letters beside those of the best fonts")
    return path, notes


def _measure(
    crops: CropFolder, game: dict[str, Any], spec: Spec, options: argparse.Namespace
) -> tuple[Details | None, list[str]]:
    """Measure `crops` and change text and backgrounds of `game`. Returns what letters tell, and notes for the user."""
    proposal = propose_settings(crops, game)
    game["text"].update(proposal.text)
    game["backgrounds"], notes = proposal.backgrounds, proposal.notes
    given = game["text"]["fonts"] if options.fonts is not None else []
    details = measure_details(crops, proposal, spec.characters, given, not options.no_system_fonts)
    if details and details.matches:
        best = ", ".join(f"{match.candidate.title} {match.score:.3f}" for match in details.matches[:4])
        notes.append(f"fonts that match best, of 1: {best}")
        if details.matches[0].score < GOOD_SCORE:
            notes.append("none of them is the font of these crops: name its file with --fonts if you have it")
    if options.narrow:
        notes += proposal.advice
        if details and details.matches and options.fonts is None:
            game["text"]["fonts"] = choose_best_fonts(details.matches)
    else:
        game.update(widen(game, details, crops.size))
    return details, notes


def _compare(crops: CropFolder, game: dict[str, Any], details: Details) -> bytes:
    """The PNG file of `draw_comparison`."""
    renderer = Renderer(Game.from_config(game))
    classes = renderer.period
    numbers = [round(k) for k in np.linspace(0, classes - 2, 10)]  # the last class shows no text
    rendered = list(renderer.render("train", numbers).images)
    height = float(np.mean(details.height))
    picture = draw_comparison(crops.images, rendered, details.shapes, details.matches, height)
    done, data = cv2.imencode(".png", picture[:, :, ::-1])
    assert done
    return data.tobytes()


def _as_background(folder: str, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A folder of the user's own as a background, with as much weight as all `others`."""
    source = folder if folder.endswith("/") else f"{folder}/"
    weight = sum(background.get("weight", 1.0) for background in others)
    return {"source": source, "weight": round(weight, 2), "zoom": [1, 1.5], "light": [0.8, 1.2]}


def _check_name(name: str) -> None:
    """Refuse names with which game=… would not find the file. `Game` refuses those that are no file names."""
    if re.search(r"\.ya?ml$", name):
        raise UserError(f"{name} is the name of a file, not of a game: write {re.sub(r'[.]ya?ml$', '', name)}")
    if (CONF / "game" / f"{name}.yaml").is_file():
        raise UserError(f"{name} is a game of foldtext, which Hydra would find first: choose another name")
    if name == "null":
        raise UserError("game=null stands for no game: choose another name")


def _write(path: Path, content: bytes) -> None:
    with os_errors_as_user_errors(path, OTHER_DIR):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content, OTHER_DIR)


def main() -> None:
    """Run the console script."""
    arguments = sys.argv[1:]
    cli.run(lambda: _main(arguments))


def _main(arguments: Sequence[str]) -> None:
    path, notes = create(arguments)
    folder, name = shlex.quote(str(path.parents[1])), path.stem
    for note in notes:
        print(note)
    spec = Game.from_config(OmegaConf.to_container(OmegaConf.load(path), resolve=True)).parse_spec()
    rng = np.random.default_rng(0)
    some = spec.draw_examples(3, rng) if spec.is_joint else [spec.sample(of, rng) for of in spec.classes[:3]]
    texts = ", ".join(map(repr, some))
    print(f"{shlex.quote(str(path))} is written: {len(spec.classes)} classes, texts such as {texts}.")
    print("Look at it, then train:")
    measured = any(argument.startswith("--like") for argument in arguments)
    looks = "" if measured else " looks=broad"  # nothing is known about how the texts look
    print(f"  foldtext preview --config-dir {folder} game={name}{looks}")
    print(f"  foldtext train --config-dir {folder} game={name}{looks} fold=4")
    if measured:
        print("or, with the footage that the crops are from, which reads real frames better:")
        print(f"  foldtext adapt --config-dir {folder} game={name} looks=game source=… regions=… end=20")
