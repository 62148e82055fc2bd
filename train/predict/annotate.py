"""A video of the footage with boxes around the regions, and with the values that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import cv2

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.common.pyav import import_pyav
from textgen.footage.frames import PICTURE_RATE, open_frames
from textgen.footage.regions import Region
from textgen.render.video_writer import SUFFIXES, open_video_writer
from train.common.resume import is_resumable
from train.predict.predictor import UNSURE
from train.predict.readouts import Joined, Readout
from train.predict.rows import read_rows
from train.predict.settings import Settings

SURE, DOUBT = (80, 220, 80), (240, 180, 40)  # colours of boxes
STEPS = 16  # to which times are rounded, of a frame
GAP, SCALE = 4, 720  # pixels around a text; the height of a frame whose texts have size 0.6


def check_annotate(s: Settings) -> None:
    """Raise `UserError` for a video that cannot be written."""
    if s.annotate is None:
        return
    if not is_resumable(s.source):
        raise UserError(f"annotate={s.annotate} reads the source again, which is live: record it to a file first")
    if s.annotate.suffix.lower() not in SUFFIXES:
        raise UserError(f"annotate={s.annotate}: a video ends in {', '.join(SUFFIXES)}")
    if s.annotate.exists() and not s.overwrite:
        raise UserError(f"annotate={s.annotate} exists: choose another, or replace it with overwrite=true")
    import_pyav("annotate=… needs PyAV: pip install 'foldtext[video]'")


def annotate(s: Settings, readouts: Sequence[Readout], joined: Sequence[Joined]) -> None:
    """Read the source once more, and write it with the values of the finished output. Raises `UserError`."""
    assert s.annotate is not None
    regions = {readout.name: readout.region for readout in readouts}
    regions |= {each.name: readouts[each.parts[0][0]].region for each in joined}
    values: dict[str, str] = {}
    rows = read_rows(s.out)
    row = next(rows, None)
    with open_frames(s.source, start=s.start, end=s.end, every=s.every, rate=s.rate) as frames:
        rate = Fraction((frames.frame_rate or PICTURE_RATE) / s.every).limit_denominator(1001)
        height, width = (side - side % 2 for side in frames.size)
        total = frames.frames // s.every if frames.frames else None
        with (
            open_video_writer(s.annotate, (height, width), rate, steps=STEPS) as video,
            progress_bar(total, s.annotate.name, unit=" frames") as progress,
        ):
            first: float | None = None
            for frame in frames:
                first = frame.time if first is None else first
                while row is not None and row.frame <= frame.index:
                    values[row.region] = row.value if row.smoothed is None else row.smoothed
                    row = next(rows, None)
                if row is None and not values:
                    raise UserError(f"{s.out} has no rows to draw")
                picture = frame.rgb()
                for region, texts in _group(regions, values):
                    draw_box(picture, region, texts)
                video.write(picture[:height, :width], frame.time - first)
                progress.update(1)


def _group(regions: dict[str, Region], values: dict[str, str]) -> Iterator[tuple[Region, dict[str, str]]]:
    """Each region with the values that it shows."""
    for region in dict.fromkeys(regions.values()):
        yield region, {name: values[name] for name in regions if regions[name] == region and name in values}


def draw_box(picture: U8, region: Region, values: dict[str, str]) -> None:
    """Draw a box around a region of `picture`, RGB uint8 (H, W, 3), in place, and values below it, or above it."""
    color = DOUBT if UNSURE in values.values() else SURE
    corner = region.left - 1, region.top - 1
    cv2.rectangle(picture, corner, (region.left + region.width, region.top + region.height), color, 1)
    text = "  ".join(f"{name} {value}" for name, value in values.items()).encode("ascii", "replace").decode()
    size = 0.6 * max(picture.shape[0] / SCALE, 0.7)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    below = region.top + region.height + height + GAP
    y = below if below + GAP < picture.shape[0] else max(region.top - GAP, height)
    x = max(min(region.left, picture.shape[1] - width - GAP), 0)
    cv2.rectangle(picture, (x - GAP // 2, y - height - GAP // 2), (x + width + GAP // 2, y + GAP), (0, 0, 0), -1)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)
