"""Label the counters of recorded clips with an OCR engine, and draw sheets on which a person checks the labels.

    python benchmarks/footage/label.py recordings toppler_a toppler_b

reads every third frame of each counter of games.yaml, and writes into the folder of the clips
  <clip>.<counter>.read.csv           what the engine read; kept, so that the next call does not read again
  <clip>.<counter>.csv                the labels (frame,text): what was read, with the corrections; empty: no counter
  sheets/<clip>.<counter>.<n>.png     the crops sorted by label, each with its frame
It lists the frames whose text the counter cannot show, and those that differ from both neighbours. Write what is wrong
into <clip>.<counter>.corrections.csv (first,last,text: the first and last frame, both included) and call it again.

It is apart from `python -m textgen.label` because a benchmark's labels must not come from what it measures: no text is
chosen here by the kind of the counter, or left out because it is doubtful.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from footage import (
    Counter,
    clean,
    correct,
    find_clip,
    find_doubtful,
    read_corrections,
    read_crops,
    read_games,
    read_texts,
    write_texts,
)

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.label.readers import ReaderSettings, make_reader

EVERY = 3  # frames
HEIGHT, CAPTION, WIDTH, ROWS = 40, 12, 1100, 20  # of a sheet: pixels, and rows


def label(clip: Path, counter: Counter, reader_name: str) -> None:
    """Label one counter of a clip, and print what needs a look."""
    stem = clip.with_suffix(f".{counter.name}")
    read, spec = Path(f"{stem}.read.csv"), counter.parse()
    crops = read_crops(clip, counter, every=EVERY)
    if not read.exists():
        readings = make_reader(reader_name, ReaderSettings(spec)).read(list(crops.values()))
        write_texts(read, {frame: clean(reading.text or "") for frame, reading in zip(crops, readings, strict=True)})
    texts = correct(read_texts(read), read_corrections(Path(f"{stem}.corrections.csv")))
    write_texts(Path(f"{stem}.csv"), texts)
    doubtful = find_doubtful(texts, spec)
    (clip.parent / "sheets").mkdir(exist_ok=True)
    for old in (clip.parent / "sheets").glob(f"{stem.name}.*.png"):
        old.unlink()
    for number, sheet in enumerate(draw_sheets(crops, texts, set(doubtful))):
        cv2.imwrite(str(clip.parent / "sheets" / f"{stem.name}.{number}.png"), sheet)
    shown = sum(map(bool, texts.values()))
    print(f"{stem.name}: {len(texts)} frames, {shown} with a counter, {len(set(texts.values()))} texts")
    for frame in doubtful:
        print(f"  {frame}: {texts[frame]!r}")


def draw_sheets(crops: Mapping[int, U8], texts: Mapping[int, str], doubtful: set[int]) -> list[U8]:
    """Pictures (h, w, 3) in BGR of the crops sorted by label: the label at the left, each crop's frame below it."""
    rows: list[U8] = []
    for text, group in itertools.groupby(sorted(texts, key=lambda frame: (texts[frame], frame)), key=texts.__getitem__):
        tiles = [_draw_tile(crops[frame], str(frame), frame in doubtful) for frame in group]
        a_row = max((WIDTH - 100) // tiles[0].shape[1], 1)
        for at in range(0, len(tiles), a_row):
            row = np.full((HEIGHT + CAPTION, WIDTH, 3), 255, np.uint8)
            cv2.putText(row, text or "(none)", (2, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2)
            joined = np.concatenate(tiles[at : at + a_row], 1)[:, : WIDTH - 100]
            row[:, 100 : 100 + joined.shape[1]] = joined
            rows.append(row)
    return [np.concatenate(rows[at : at + ROWS]) for at in range(0, len(rows), ROWS)]


def _draw_tile(crop: U8, caption: str, is_doubtful: bool) -> U8:
    width = max(round(crop.shape[1] * HEIGHT / crop.shape[0]), 34)
    picture = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
    tile = np.full((HEIGHT + CAPTION, width + 2, 3), 255, np.uint8)
    tile[:HEIGHT, :width] = picture
    color = (0, 0, 255) if is_doubtful else (120, 120, 120)
    cv2.putText(tile, caption, (1, HEIGHT + 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, color, 1)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of <clip>.mp4")
    parser.add_argument("names", nargs="*", help="clips of games.yaml; all that the folder holds if not given")
    parser.add_argument("--counter", help="only this counter")
    parser.add_argument("--reader", default="rapidocr", help="reader of `python -m textgen.label`")
    arguments = parser.parse_args()
    games = read_games()
    names = arguments.names or [clip.stem for clip in sorted(arguments.clips.glob("*.mp4"))]
    for name in names:
        for counter in find_clip(name, games).counters:
            if arguments.counter in (None, counter.name):
                label(arguments.clips / f"{name}.mp4", counter, arguments.reader)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
