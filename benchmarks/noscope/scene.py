"""Draw a clip of a fixed camera with people and cars that pass, and its label table, as NoScope's tasks need them.

    python -m benchmarks.noscope.scene out=coral/scene.mp4 kinds=person,car [frames=12000] [seed=0] [light=1]

NoScope's videos are in no registry. The clip has what makes their tasks work: a still background with noise and slowly
changing light, objects of a kind that counts and of one that does not (person, car, bus), and labels with a confidence,
some of them wrong at a low one. `labels.csv` beside the clip has NoScope's columns. `light` below 1 makes it night. The
same seed gives the same clip.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from textgen.common.array_types import U8, Rng
from textgen.common.atomic import OTHER_OUT, write_atomic
from textgen.render.video_writer import open_video_writer

SIZE = (120, 160)  # height and width of the frames
RATE = Fraction(25)
ENTER = {"person": 1 / 70, "car": 1 / 80, "bus": 1 / 80}  # the chance that one appears in a frame
HEIGHT = {"person": (54, 66), "car": (26, 34), "bus": (44, 54)}
FOOT = {"person": (0.86, 0.98), "car": (0.62, 0.78), "bus": (0.62, 0.78)}  # where they go, in heights of the frame
WIDTH = {"person": 1 / 3, "car": 2.0, "bus": 2.2}  # in heights
HEADER = ("frame", "object_name", "confidence", "xmin", "ymin", "xmax", "ymax")


@dataclass
class Passer:
    """An object that passes: `x` and `y` are its lower left corner, in pixels; `speed` in pixels a frame."""

    kind: str
    x: float
    y: float
    height: int
    width: int
    speed: float
    colours: U8

    def draw(self, picture: U8, frame: int) -> None:
        x, y, h, w = round(self.x), round(self.y), self.height, self.width
        body, other = (tuple(map(int, colour)) for colour in self.colours)
        if self.kind == "bus":
            cv2.rectangle(picture, (x, y - h), (x + w, y - h // 6), body, -1)
            for window in range(5):
                left = x + w * (4 + window * 18) // 100
                cv2.rectangle(picture, (left, y - h * 9 // 10), (left + w * 14 // 100, y - h * 11 // 20), other, -1)
            for wheel in (w // 5, w * 4 // 5):
                cv2.circle(picture, (x + wheel, y - h // 6), h // 6, (20, 20, 20), -1)
            return
        if self.kind == "car":
            cv2.rectangle(picture, (x, y - h * 2 // 3), (x + w, y - h // 5), body, -1)
            cv2.rectangle(picture, (x + w // 5, y - h), (x + w * 4 // 5, y - h // 2), body, -1)
            cv2.rectangle(picture, (x + w // 4, y - h * 9 // 10), (x + w * 3 // 4, y - h * 3 // 5), other, -1)
            for wheel in (w // 4, w * 3 // 4):
                cv2.circle(picture, (x + wheel, y - h // 5), h // 5, (20, 20, 20), -1)
            return
        middle, step = x + w // 2, round(w / 3 * np.sin(frame * abs(self.speed) / 3))
        cv2.rectangle(picture, (x + w // 5, y - h * 4 // 5), (x + w * 4 // 5, y - h * 2 // 5), body, -1)
        for foot in (middle - step, middle + step):
            cv2.line(picture, (middle, y - h * 2 // 5), (foot, y), other, max(w // 4, 1))
        cv2.circle(picture, (middle, y - h * 9 // 10), max(h // 10, 1), (200, 160, 130), -1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax within the frame."""
        top, bottom = max(self.y - self.height, 0), min(self.y, SIZE[0] - 1)
        return max(self.x, 0), top, min(self.x + self.width, SIZE[1] - 1), bottom

    @property
    def is_in_frame(self) -> bool:
        """Whether more than half of it is in the frame."""
        left, _, right, _ = self.box
        return right - left > self.width / 2


def find_visible(passers: Sequence[Passer]) -> list[Passer]:
    """Those of whose part in the frame at least half is not behind others; `passers` are in the order of drawing."""
    nearest = np.full(SIZE, -1)
    boxes = []
    for number, each in enumerate(passers):
        left, top, right, bottom = (max(round(side), 0) for side in each.box)  # one that has just left ends below 0
        boxes.append((slice(top, bottom), slice(left, right)))
        nearest[boxes[-1]] = number
    in_frame = ((number, each) for number, each in enumerate(passers) if each.is_in_frame)
    return [each for number, each in in_frame if (nearest[boxes[number]] == number).mean() >= 0.5]


def draw_scene(frames: int, seed: int, kinds: tuple[str, ...], light: float) -> Iterator[tuple[U8, list[Passer]]]:
    """Yield the frames, RGB uint8 (H, W, 3), with the objects that are visible in each."""
    rng = np.random.default_rng(seed)
    background = _draw_background(rng)
    passers: list[Passer] = []
    drift = 0.0
    for frame in range(frames):
        passers = [each for each in passers if -each.width < each.x < SIZE[1]]
        passers += [_enter(kind, rng) for kind in kinds if rng.random() < ENTER[kind]]
        drift = 0.995 * drift + rng.normal(0, 1.0)
        picture = background.copy()
        passers.sort(key=lambda each: each.y)
        for each in passers:
            each.x += each.speed
            each.draw(picture, frame)
        noisy = picture * light + drift + rng.normal(0, 6, (*SIZE, 1)).astype(np.float32)
        yield noisy.clip(0, 255).astype(np.uint8), find_visible(passers)


def write_scene(out: Path, frames: int, seed: int, kinds: tuple[str, ...], light: float) -> None:
    """Write the clip, and labels.csv beside it. The first of `kinds` is what labels are wrong about."""
    rng = np.random.default_rng([seed, 1])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    with open_video_writer(out, SIZE, RATE) as writer:
        for number, (picture, visible) in enumerate(draw_scene(frames, seed, kinds, light)):
            writer.write(picture)
            for each in visible:
                table.writerow([number, each.kind, f"{rng.uniform(0.6, 1):.3f}", *(f"{side:.1f}" for side in each.box)])
            if rng.random() < 0.05:  # what a detector sees in nothing
                table.writerow([number, kinds[0], f"{rng.uniform(0.1, 0.4):.3f}", 0, 0, 10, 20])
    write_atomic(out.with_name("labels.csv"), text.getvalue().encode(), OTHER_OUT)


def _draw_background(rng: Rng) -> U8:
    coarse = (rng.uniform(90, 150, (6, 8, 1)) + rng.uniform(-12, 12, (6, 8, 3))).astype(np.float32)
    ground = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for _ in range(12):  # windows, signs, posts
        x, y = int(rng.integers(SIZE[1])), int(rng.integers(SIZE[0] // 3))
        corner = (x + int(rng.integers(3, 14)), y + int(rng.integers(3, 24)))
        cv2.rectangle(ground, (x, y), corner, tuple(map(int, rng.integers(30, 220, 3))), -1)
    return np.asarray(ground)


def _enter(kind: str, rng: Rng) -> Passer:
    height = int(rng.integers(*HEIGHT[kind]))
    width = int(height * WIDTH[kind])
    speed = float(rng.uniform(3, 5)) * float(rng.choice([-1, 1]))
    x = -width + 1.0 if speed > 0 else SIZE[1] - 1.0
    dark = kind == "person"  # as most clothes are, beside most cars
    colours = rng.integers(10 if dark else 60, 90 if dark else 240, (2, 3)).astype(np.uint8)
    return Passer(kind, x, float(rng.uniform(*FOOT[kind])) * SIZE[0], height, width, speed, colours)


def main() -> None:
    """The script."""
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out = Path(given.get("out", "scene.mp4"))
    out.parent.mkdir(parents=True, exist_ok=True)
    kinds = tuple(given.get("kinds", "person,car").split(","))
    write_scene(out, int(given.get("frames", 12_000)), int(given.get("seed", 0)), kinds, float(given.get("light", 1)))
    print(out)


if __name__ == "__main__":
    main()
