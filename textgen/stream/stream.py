"""Write a simulated stream and its true values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, StrictInt
from pydantic import dataclasses as checked

from textgen.common.array_types import U8
from textgen.common.atomic import OTHER_OUT, atomic_file
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.common.validation import Positive, Seed, UserPath
from textgen.render.renderer import Renderer
from textgen.render.video_writer import open_video_writer
from textgen.schema.game import Game
from textgen.spec.items import text_of
from textgen.stream.counter import count_frames, guess_kind
from textgen.stream.overlays import Overlay, choose_panel, draw_overlays
from textgen.stream.scenes import Scenes

MAX_FRAMES = 1_000_000
BORDER = 4  # pixels of the panel around the region
PROBES = 16  # frames on whose backgrounds legibility is tested
INK = 0.5  # of the background that shines through at most where there is ink


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/stream.yaml but the game."""

    out: UserPath | None
    labels: UserPath | None
    seconds: Annotated[float, Field(gt=0, le=24 * 3600)]
    size: tuple[Positive, Positive]
    rate: Annotated[float, Field(ge=1, le=240)]
    place: tuple[Annotated[StrictInt, Field(ge=0)], Annotated[StrictInt, Field(ge=0)]]
    zoom: Annotated[StrictInt, Field(ge=1, le=16)]
    kind: Literal["auto", "clock", "countdown", "counter"]
    speed: Annotated[float, Field(gt=0, le=1000)]
    hidden: Annotated[float, Field(ge=0, le=1)]
    crf: Annotated[StrictInt, Field(ge=0, le=51)]
    seed: Seed


def write_stream(game: Game, s: Settings) -> str:
    """Write the video and the CSV of its true values; return a line about them. Raises `UserError`."""
    out = s.out or Path(f"{game.name}.mp4")
    labels = s.labels or out.with_suffix(".csv")
    if labels == out:
        raise UserError(f"labels={labels} is the video itself: give another")
    (width, height), (left, top) = s.size, s.place
    region_height, region_width = s.zoom * game.size[0], s.zoom * game.size[1]
    if left + region_width > width or top + region_height > height:
        raise UserError(
            f"place={list(s.place)}: the counter's {region_width}×{region_height} pixels do not fit into a frame of"
            f" {width}×{height} there: give a place further left and up, or a smaller zoom"
        )
    frames = max(round(s.seconds * s.rate), 1)
    if frames > MAX_FRAMES:
        raise UserError(f"seconds={s.seconds:g}: {frames} frames are more than {MAX_FRAMES:,}: give fewer")
    rate = Fraction(s.rate).limit_denominator(1001)
    with (
        open_video_writer(out, (height, width), rate, crf=s.crf) as video,
        atomic_file(labels, OTHER_OUT) as write_labels,
    ):
        renderer = Renderer(game, s.seed)
        spec, rng = renderer.spec, np.random.default_rng(s.seed)
        kind = guess_kind(spec) if s.kind == "auto" else s.kind
        shown = list(count_frames(spec, kind, frames, float(rate), rng, speed=s.speed, hidden=s.hidden))
        sources = renderer.backgrounds.sources
        pictures = [source for source in sources if source.paths] or sources  # procedural kinds look like no game
        scenes = Scenes(pictures, (height, width), float(rate), s.seed)
        panel, opacity = choose_panel(sources, rng)
        area = slice(top, top + region_height), slice(left, left + region_width)
        around = slice(max(top - BORDER, 0), area[0].stop + BORDER), slice(max(left - BORDER, 0), area[1].stop + BORDER)

        def with_panel(number: int) -> U8:
            frame = scenes.frame(number).copy()
            behind = frame[around] * (1 - opacity) + np.array(panel) * opacity
            frame[around] = np.rint(behind).astype(np.uint8)
            return frame

        probes = [with_panel(number)[area] for number in range(0, frames, -(-frames // PROBES))]

        def is_legible(overlays: Sequence[Overlay]) -> bool:
            some = [overlay for overlay in overlays if (overlay.share < INK).any()][:PROBES]
            return all(_contrast(overlay, probe) >= game.text.contrast for overlay in some for probe in probes)

        texts = {text_of(items): items for items in shown}
        overlays = draw_overlays(renderer, list(texts.values()), s.zoom, is_legible)
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("frame", "time", "text", "label"))
        with progress_bar(frames, str(out), unit=" frames") as progress:
            for number, items in enumerate(shown):
                text, frame = text_of(items), with_panel(number)
                frame[area] = overlays[text].draw(frame[area])
                video.write(frame)
                rows.writerow((number, f"{float(number / rate):.6f}", text, spec.answer_of(text)))
                progress.update(1)
        write_labels(table.getvalue().encode())
    region = f"[{left},{top},{region_width},{region_height}]"
    return f"{out}: {frames} frames of {width}×{height}, a {kind} at {region}; its true values are in {labels}"


def _contrast(overlay: Overlay, background: U8) -> float:
    """The mean difference in brightness, in levels, that the overlay makes where it has ink."""
    ink = overlay.share.mean(2) < INK
    difference = overlay.draw(background).astype(np.float32) - background
    return float(np.abs(difference.mean(2))[ink].mean())
