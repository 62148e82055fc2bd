"""Time and score readers of a clip's counter side by side: RapidOCR, Tesseract and a trained network, on one core.

    python benchmarks/footage/compare.py recordings toppler_b time --run runs/toppler --minutes 6

All read the same labelled crops in one process on one core, with one thread, in turns. Prints a Markdown table;
`--json` adds the figures to a file as a line.

Frames right are those whose class is that of the label; frames without a counter count, too. The 95 % interval allows
for errors that come in a row. Crops/s are per second of processor time, so that a busy machine does not count, and the
median of the turns. The network's include the scaling of the crops to its size; decoding the video is in none of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from footage import Counter, clean, find_clip, read_crops, read_games, read_texts
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.label.rapidocr import make_reader as make_rapidocr
from textgen.label.readers import Reader, ReaderSettings
from textgen.label.tesseract import make_reader as make_tesseract
from textgen.spec import Spec

HEAD = ("reader", "frames right", "95 % interval", "crops/s, one core", "set-up, minutes")
OCR_CROPS = 60  # of a turn: engines take about 10 to 100 ms each
CHOICE_CROPS = 60  # on which the preparation for Tesseract is chosen
NETWORK_SECONDS = 0.5  # of a turn, at least
Read = Callable[[Sequence[U8]], list[str]]  # crops to classes


@dataclass(frozen=True)
class Score:
    """What a reader reached on a clip's counter.

    `right` and the interval `low` to `high` are in per cent. `minutes` is the time of set-up, None where unknown.
    """

    reader: str
    frames: int
    right: float
    low: float
    high: float
    crops_per_second: float
    minutes: float | None


def score_classes(read: Sequence[str], true: Sequence[str], block: int) -> tuple[float, float, float]:
    """The share of right classes, and its 95 % interval by Wilson, where neighbours may be wrong together.

    The number of frames is divided by the design effect of blocks of `block` neighbouring frames: how many times the
    variance of the share is that of independent frames. It is at least 1.
    """
    right = np.array([a == b for a, b in zip(read, true, strict=True)], np.float64)
    share, n = float(right.mean()), len(right) / design_effect(right, block)
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def design_effect(right: NDArray[np.float64], block: int) -> float:
    """How many times the variance of the mean of `right` is that of independent values, at least 1."""
    share = float(right.mean())
    blocks = [right[at : at + block] for at in range(0, len(right), block)]
    if share in (0.0, 1.0) or len(blocks) < 2:
        return 1.0
    deviations = sum(float((part - share).sum()) ** 2 for part in blocks) * len(blocks) / (len(blocks) - 1)
    return max(deviations / (len(right) * share * (1 - share)), 1.0)


def read_with(reader: Reader, spec: Spec, crops: Sequence[U8]) -> list[str]:
    """The classes of the texts that an OCR engine reads."""
    return [spec.answer_of(clean(reading.text or "")) for reading in reader.read(crops)]


PREPARATIONS: dict[str, Callable[[U8], U8]] = {
    "as it is": lambda crop: crop,
    "Otsu's threshold": lambda crop: _on_three(cv2.threshold(_grey(crop), 0, 255, cv2.THRESH_OTSU)[1]),
    "brightest channel": lambda crop: _on_three(crop.max(2)),
    "darkest channel": lambda crop: _on_three(crop.min(2)),
}


def _grey(crop: U8) -> U8:
    """Enlarged and smoothed: a threshold on the small picture leaves steps."""
    scaled = cv2.resize(crop, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY), np.uint8)


def _on_three(grey: np.ndarray) -> U8:
    return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, 2).astype(np.uint8))


def choose_preparation(reader: Reader, spec: Spec, crops: Sequence[U8], true: Sequence[str]) -> str:
    """The preparation with which Tesseract reads most of these crops, a choice in its favour."""
    return max(
        PREPARATIONS,
        key=lambda name: sum(
            a == b for a, b in zip(read_with(reader, spec, [*map(PREPARATIONS[name], crops)]), true, strict=True)
        ),
    )


def load_network(run: Path, classes: Sequence[str]) -> Read:
    """The trained network of a run. Raises `UserError` if its classes are not those of the counter."""
    from train.predict.predictor import Predictor, find_best  # noqa: PLC0415, slow

    predictor = Predictor.load(run, threads=1)
    if set(predictor.classes) != set(classes):
        print(f"warning: {run} was trained for other classes than the counter's", file=sys.stderr)

    def read(crops: Sequence[U8]) -> list[str]:
        labels, _ = find_best(predictor.log_probabilities(np.stack([predictor.scale(crop) for crop in crops])))
        return [predictor.classes[label] for label in labels]

    return read


def processor_seconds() -> float:
    """What this process and the programs that it ran have taken of processors, which other programs do not change."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure_speed(readers: dict[str, Read], crops: Sequence[U8], turns: int) -> dict[str, float]:
    """Crops/s of each reader, the median of turns in which all of them read."""
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(turns + 1):  # the first warms up
        for name, read in readers.items():
            chosen = crops if name == "network" else [crops[i * len(crops) // OCR_CROPS] for i in range(OCR_CROPS)]
            done, begin = 0, processor_seconds()
            while not done or (name == "network" and processor_seconds() - begin < NETWORK_SECONDS):
                read(chosen)
                done += len(chosen)
            if turn:
                speeds[name].append(done / (processor_seconds() - begin))
    return {name: statistics.median(values) for name, values in speeds.items()}


def compare(clip: Path, counter: Counter, run: Path | None, minutes: float | None, turns: int) -> list[Score]:
    """Score and time all readers on the labelled frames of a clip."""
    spec = counter.parse()
    texts = read_texts(clip.with_suffix(f".{counter.name}.csv"))
    found = read_crops(clip, counter)
    frames = [frame for frame in sorted(texts) if frame in found]
    crops, true = [found[frame] for frame in frames], [spec.answer_of(texts[frame]) for frame in frames]
    settings = ReaderSettings(spec, threads=1)
    rapidocr, tesseract = make_rapidocr(settings), make_tesseract(settings)
    step = max(len(crops) // CHOICE_CROPS, 1)
    preparation = choose_preparation(tesseract, spec, crops[::step], true[::step])
    prepare = PREPARATIONS[preparation]
    readers: dict[str, Read] = {
        " ".join(rapidocr.name.split()[:2]): partial(read_with, rapidocr, spec),
        f"{' '.join(tesseract.name.split()[:2])} ({preparation})": lambda crops: read_with(
            tesseract, spec, [prepare(crop) for crop in crops]
        ),
    }
    if run is not None:
        readers["network"] = load_network(run, spec.classes)
    speeds = measure_speed(readers, crops, turns)
    step = statistics.mode(b - a for a, b in itertools.pairwise(frames))
    scores = []
    for name, read in readers.items():
        share, low, high = (100 * value for value in score_classes(read(crops), true, max(30 // step, 1)))
        setup = minutes if name == "network" else 0.0
        scores.append(Score(name, len(crops), share, low, high, speeds[name], setup))
    return scores


def to_markdown(clip: str, counter: str, scores: Sequence[Score]) -> str:
    """A table with a row a reader."""
    lines = [
        f"{clip}, {counter}: {scores[0].frames} frames",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --- |' * len(HEAD)}",
    ]
    for score in scores:
        setup = "" if score.minutes is None else f"{score.minutes:.1f}"
        speed = f"{score.crops_per_second:,.0f}".replace(",", " ")
        lines.append(
            f"| {score.reader} | {score.right:.1f} % | {score.low:.1f} to {score.high:.1f} | {speed} | {setup} |"
        )
    return "\n".join(lines)


def read_minutes(run: Path) -> float | None:
    """The minutes of set-up in the record that `python -m train.adapt` leaves in a run, None without one."""
    record = run / "adapt.json"
    if not record.exists():
        return None
    seconds = json.loads(record.read_text("utf-8")).get("seconds")
    return sum(seconds.values()) / 60 if isinstance(seconds, dict) else seconds / 60 if seconds else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of <clip>.mp4 and <clip>.<counter>.csv")
    parser.add_argument("clip", help="name of a clip in games.yaml")
    parser.add_argument("counter", help="name of a counter of its game")
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--minutes", type=float, help="of set-up; otherwise from the record of the run")
    parser.add_argument("--turns", type=int, default=5, help="of the timing")
    parser.add_argument("--core", type=int, default=0, help="the processor core that all of them share")
    parser.add_argument("--json", type=Path, help="file to which the figures are added as a line")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # as `taskset`, for the threads and programs that it starts as well
        os.sched_setaffinity(0, {arguments.core})
    cv2.setNumThreads(1)
    game = find_clip(arguments.clip, read_games())
    counter = next((each for each in game.counters if each.name == arguments.counter), None)
    if counter is None:
        known = ", ".join(each.name for each in game.counters)
        raise UserError(f"no such counter: {arguments.counter}; {game.name} has {known}")
    run: Path | None = arguments.run
    minutes = arguments.minutes if arguments.minutes is not None or run is None else read_minutes(run)
    scores = compare(arguments.clips / f"{arguments.clip}.mp4", counter, run, minutes, arguments.turns)
    print(to_markdown(arguments.clip, counter.name, scores))
    if arguments.json:
        line = {
            "clip": arguments.clip,
            "counter": counter.name,
            "run": str(run or ""),
            "scores": [*map(asdict, scores)],
        }
        with arguments.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
