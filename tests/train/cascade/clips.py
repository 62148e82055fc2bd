"""A clip with a square that comes and goes, its label table, and networks trained on it in seconds."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
from conftest import composed

from train.runs.run import run

FRAME = (48, 64)  # height, width
RATE = 30
TASK = ["task=video", "task.object=square", "task.split={chunks: 4, train: [1, 2], val: [3], test: [4]}"]
SHORT = [
    "task.size=[24,32]",
    "model.arch=C8 M F16 F",
    "recipe=paper",
    "batch=32",
    "epochs=5",
    "groupings=2",
    "threads=1",
]


def presence(count: int, seed: int = 0) -> np.ndarray:
    """Whether the square is there, in stretches of 20 to 60 frames, bool (count,)."""
    rng, found = np.random.default_rng(seed), np.zeros(count, np.bool_)
    at, present = 0, False
    while at < count:
        length = int(rng.integers(20, 60))
        found[at : at + length] = present
        at, present = at + length, not present
    return found


def write_clip(folder: Path, count: int, faint: float = 0.15, seed: int = 0) -> tuple[Path, Path]:
    """A video and its label table: a bright square in noise, in a share `faint` of the frames hardly brighter."""
    folder.mkdir(parents=True, exist_ok=True)
    video, labels = folder / "clip.mp4", folder / "labels.csv"
    rng, present = np.random.default_rng(seed), presence(count, seed)
    with av.open(str(video), "w") as container, labels.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frame", "object_name", "confidence", "xmin", "ymin", "xmax", "ymax"])
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = FRAME[1], FRAME[0], "yuv420p"
        for number in range(count):
            picture = rng.normal(90, 12, (*FRAME, 1)).repeat(3, 2)
            if present[number]:
                y, x = int(rng.integers(4, 28)), int(rng.integers(4, 44))
                picture[y : y + 16, x : x + 16] += 14 if rng.random() < faint else 110
                table.writerow([number, "square", 0.9, x, y, x + 16, y + 16])
            image = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return video, labels


def train_on(video: Path, labels: Path, out: Path, fold: int, *given: str) -> Path:
    """The folder of a run on the clip."""
    data = [f"source={video}", f"labels={labels}", f"data_dir={out.parent / 'data'}", f"out={out}"]
    run(composed(*TASK, *SHORT, *data, f"fold={fold}", *given))
    return out
