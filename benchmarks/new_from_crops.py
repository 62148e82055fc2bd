"""How near `textgen.new --like` comes to known games: `python benchmarks/new_from_crops.py [--write]`.

Crops of the games of conf/game are rendered into folders and measured as a user's own would be. Heights and places are
compared by the mean error of both ends of their ranges, colours by the distance in RGB (0 to 441) from each true one to
the nearest that is proposed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from results import machine, write

from textgen import compose
from textgen.assets.backgrounds import parse_color
from textgen.new.main import create
from textgen.render.renderer import Renderer
from textgen.schema.definition import parse_definition
from textgen.schema.game import Game

CASES = [(50, "light", False), (50, "light", True), (50, "off", False), (10, "light", False)]
FIGURES = ("height, pixels", "x", "y", "colour")


def errors(name: str, count: int, augment: str, blank: bool) -> list[float]:
    """Errors of the proposal for one game, in the order of FIGURES."""
    definition = parse_definition(compose(f"game={name}", f"augment={augment}"), seed=1)
    game, renderer = definition.game, Renderer.from_definition(definition)
    classes = len(renderer.classes)
    indices = [i for i in range(3 * count + classes) if i % classes != classes - 1][:count]
    others = [i * classes + classes - 1 for i in range(16 if blank else 0)]
    with tempfile.TemporaryDirectory() as folder:
        crops = Path(folder) / "crops"
        crops.mkdir()
        for i, image in enumerate(renderer.render("train", [*indices, *others]).images):
            Image.fromarray(image).save(crops / f"{i}.png")
        fields = [f"--field={letter}={_values(values)}" for letter, values in (game.fields or {}).items()]
        arguments = ["own", game.spec, f"--label={game.label}", *fields, f"--like={crops}", f"--dir={folder}"]
        path, _ = create([*arguments, "--narrow"])
        proposed = Game.from_config(yaml.safe_load(path.read_text(encoding="utf-8"))).text
    true = game.text
    ends = [
        float(np.abs(np.subtract(getattr(proposed, key), getattr(true, key))).mean()) for key in ("height", "x", "y")
    ]
    near = [
        min(float(np.linalg.norm(np.subtract(parse_color(a), parse_color(b)))) for b in proposed.colors)
        for a in true.colors
    ]
    return [*ends, statistics.mean(near)]


def _values(values: object) -> str:
    return ",".join(values) if isinstance(values, list | tuple) else str(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    args = parser.parse_args()
    games = sorted(path.stem for path in (Path(__file__).parents[1] / "conf" / "game").glob("*.yaml"))
    lines = [f"| crops of each game | {' | '.join(FIGURES)} |", "|---|" + "---|" * len(FIGURES)]
    for count, augment, blank in CASES:
        table = np.array([errors(name, count, augment, blank) for name in games])
        cells = [f"{np.median(column):.3g} ({column.max():.3g})" for column in table.T]
        more = ", and 16 without text" if blank else ""
        lines.append(f"| {count}, `augment={augment}`{more} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join([*lines, "", f"Median over the {len(games)} games, in brackets the worst. {machine()}"])
    print(text)
    if args.write:
        command = "python benchmarks/new_from_crops.py --write"
        write("new", "textgen.new: proposals from crops", command, text)


if __name__ == "__main__":
    main()
