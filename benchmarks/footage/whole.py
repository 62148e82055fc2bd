"""Go the whole way for counters of games.yaml, as a user does, and count the frames that are read right.

    python benchmarks/footage/whole.py recordings results neverball/timer etr/timer --fold 1 --reader rapidocr

For each counter: `foldtext cut` on the first SECONDS of the first clip of its game, `foldtext new --like`,
`foldtext adapt`, and `foldtext predict` on the rest of that clip and on the other clips of the game, of which nothing
was seen before. Each command is a process of its own. The labels to compare with are those of `label.py`, which have
been looked at; with `--reader network` no OCR engine takes part in anything else. `--label text` reads the whole texts,
in place of the field that games.yaml names.

Results are added to results/whole.jsonl, a line a clip; a counter whose run is finished is predicted again. Prints
a Markdown table of all lines.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from compare import score_classes
from footage import Counter, Game, clean, read_games, read_texts

from textgen.common.errors import UserError

SECONDS = 20
LIKE_EVERY = 10  # of the frames that `new --like` looks at
HEAD = ("counter", "clip", "labels by", "fold", "frames", "right", "95 % interval", "after smoothing", "minutes")


@dataclass(frozen=True)
class Line:
    """The frames of a clip's counter that a run reads right, in per cent, and the minutes that the run took to make."""

    counter: str  # game/counter, with a colon and the label if that is not the one of games.yaml
    clip: str
    reader: str
    fold: int
    seed: int
    frames: int
    right: float
    low: float
    high: float
    smoothed: float
    minutes: float


def run_command(*arguments: str) -> None:
    """Run a command of foldtext."""
    subprocess.run([sys.executable, "-m", "foldtext", *arguments], check=True)


def make_run(clips: Path, out: Path, game: Game, counter: Counter, options: argparse.Namespace) -> tuple[Path, float]:
    """Cut, write a game's file, adapt. Returns the run's folder and the minutes that all of it took."""
    name = f"{game.name}_{counter.name}" + (f"_{options.label}" if options.label else "")
    folder = out / name
    made = folder / f"run_{options.reader}_f{options.fold}_s{options.seed}"
    record = made / "whole.json"
    if record.exists():
        return made, json.loads(record.read_text())["minutes"]
    source = f"source='{clips / f'{game.clips[0]}.mp4'}'"
    regions = f"regions={{{counter.name}: {list(counter.region)}}}"
    begin = time.perf_counter()
    like = folder / "like"
    run_command("cut", source, regions, f"end={SECONDS}", f"every={LIKE_EVERY}", f"out='{like}'", "overwrite=true")
    fields = [f"--field={letter}={values}" for letter, values in counter.fields.items()]
    new = [name, counter.spec, "--label", counter.label, *fields, "--like", str(like), "--dir", str(folder), "--force"]
    run_command("new", *new)
    settings = [f"fold={options.fold}", f"seed={options.seed}", f"reader={options.reader}", "looks=game"]
    settings += [f"threads={options.threads}"] if options.threads else []
    settings += [f"images={options.images}"] if options.images else []
    places = [f"runs='{folder}'", f"out='{made}'", f"data_dir='{folder / 'data'}'"]
    run_command(
        "adapt", "--config-dir", str(folder), f"game={name}", source, regions, f"end={SECONDS}", *settings, *places
    )
    minutes = (time.perf_counter() - begin) / 60
    record.write_text(json.dumps({"minutes": minutes}))
    return made, minutes


def score_clip(clips: Path, run: Path, clip: str, counter: Counter, first: bool) -> tuple[int, tuple[float, ...]]:
    """Frames, the share right with its interval, and that after smoothing, on what of a clip no training has seen."""
    values = run / f"{clip}.csv"
    run_command(
        *("predict", f"run='{run}'", f"source='{clips / f'{clip}.mp4'}'", "threshold=0", "overwrite=true"),
        *(f"regions={{{counter.name}: {list(counter.region)}}}", f"out='{values}'"),
    )
    with values.open(newline="", encoding="utf-8") as file:
        read = {int(row["frame"]): row for row in csv.DictReader(file) if row["region"] == counter.name}
    spec = counter.parse()
    texts = {frame: clean(text) for frame, text in read_texts(clips / f"{clip}.{counter.name}.csv").items()}
    frames = [frame for frame in sorted(texts) if frame in read]
    frames = [frame for frame in frames if not first or float(read[frame]["time"]) >= SECONDS]
    true = [spec.answer_of(texts[frame]) for frame in frames]
    if len(frames) < 2:
        raise UserError(f"{clip}.{counter.name}.csv has {len(frames)} frames that were not trained on: give more")
    step = statistics.mode(b - a for a, b in pairwise(frames))
    raw = score_classes([read[frame]["value"] for frame in frames], true, max(30 // step, 1))
    smoothed, _, _ = score_classes([read[frame]["smoothed"] for frame in frames], true, 1)
    return len(frames), (*raw, smoothed)


def go(clips: Path, out: Path, game: Game, counter: Counter, options: argparse.Namespace) -> list[Line]:
    """Make a run for a counter, and score it on every clip that has labels."""
    run, minutes = make_run(clips, out, game, counter, options)
    lines = []
    for clip in game.clips:
        if (clips / f"{clip}.{counter.name}.csv").exists() and (clips / f"{clip}.mp4").exists():
            frames, shares = score_clip(clips, run, clip, counter, clip == game.clips[0])
            per_cent = (100 * share for share in shares)
            label = f":{options.label}" if options.label else ""
            about = (f"{game.name}/{counter.name}{label}", clip, options.reader, options.fold, options.seed)
            lines.append(Line(*about, frames, *per_cent, minutes))
    return lines


def to_markdown(lines: Iterable[Line]) -> str:
    """A table with a row for each clip, the last result of each."""
    last = {(line.counter, line.clip, line.reader, line.fold, line.seed): line for line in lines}
    rows = [
        f"| {x.counter} | {x.clip} | {x.reader} | {x.fold} | {x.frames} | {x.right:.2f} % | {x.low:.1f} to {x.high:.1f}"
        f" | {x.smoothed:.2f} % | {x.minutes:.1f} |"
        for _, x in sorted(last.items())
    ]
    return "\n".join([f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}", *rows])


def choose_counters(names: Sequence[str], label: str | None) -> list[tuple[Game, Counter]]:
    """The counters that are named game/counter; all without names. With `label` in place of their own."""
    known = {
        f"{game.name}/{counter.name}": (game, replace(counter, label=label) if label else counter)
        for game in read_games()
        for counter in game.counters
    }
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"no such counter: {', '.join(unknown)}; known are {', '.join(known)}")
    return [known[name] for name in names or known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of <clip>.mp4 and <clip>.<counter>.csv")
    parser.add_argument("out", type=Path, help="folder of runs and results")
    parser.add_argument("counters", nargs="*", metavar="game/counter", help="those of games.yaml; default: all")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="rapidocr", help="who labels: rapidocr, tesseract, network")
    parser.add_argument("--threads", type=int, help="of training")
    parser.add_argument("--label", choices=("all", "text"), help="in place of the one in games.yaml")
    parser.add_argument("--images", type=int, help="seen in training; default: that of adapt")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "whole.jsonl"
    for game, counter in choose_counters(options.counters, options.label):
        for line in go(options.clips.resolve(), options.out.resolve(), game, counter, options):
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(line)) + "\n")
    with results.open(encoding="utf-8") as file:
        print(to_markdown(Line(**json.loads(line)) for line in file))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
