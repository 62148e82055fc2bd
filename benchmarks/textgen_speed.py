"""How fast textgen is, and how much memory a build takes: `python benchmarks/textgen_speed.py [--write]`.

Crops of the game lol_gold1 (22×52, ten fonts, shadow or outline, pictures and painted backgrounds). Every figure is the
median of rounds that take turns; rates on one core are taken in a process pinned to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from results import machine, write

from textgen import compose
from textgen.dataset.build import ensure_dataset
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition, parse_definition

BLOCK = 2048  # crops a call
PEAK = """
import atexit, sys
from textgen.main import main
status = open("/proc/self/status")  # not ru_maxrss, which a process takes over from the one that starts it
atexit.register(lambda: print([line for line in status if line.startswith("VmHWM")][0], file=sys.stderr))
main()
"""
PIPELINES = {
    "noise": "noise alone",
    "light": "`light`: resizing, blur, light, noise, JPEG",
    "strong": "`strong`: more of it, and halved chroma",
    "albumentations": "the same as `light` by albumentations",
    "video": "`video`: an H.264 encoder and decoder for every crop",
}
COUNTS = {"noise": 20 * BLOCK, "light": 8 * BLOCK, "strong": 4 * BLOCK, "albumentations": BLOCK, "video": 512}


def definition(augment: str, train: int = 10_000) -> DatasetDefinition:
    """lol_gold1 with another augmentation and number of training crops a class."""
    return parse_definition(compose("game=lol_gold1", f"augment={augment}", f"game.images.train={train}"), seed=0)


def one_core(rounds: int) -> dict[str, list[float]]:
    """Crops a second by pipeline, in memory, warm, on one core."""
    renderers = {name: Renderer.from_definition(definition(name)) for name in PIPELINES}
    for name, renderer in renderers.items():  # glyphs are rasterised when they are first needed
        renderer.render("train", range(60_000 if name == "noise" else 2000))
    rates: dict[str, list[float]] = {name: [] for name in PIPELINES}
    for _ in range(rounds):
        for name, renderer in renderers.items():
            renderer.render("train", range(256))
            start = time.perf_counter()
            for first in range(0, COUNTS[name], BLOCK):
                renderer.render("train", range(first, min(first + BLOCK, COUNTS[name])))
            rates[name].append(COUNTS[name] / (time.perf_counter() - start))
    return rates


def disk(augment: str, train: int, cores: int) -> tuple[float, float]:
    """Seconds for all crops of a data set on all cores: rendered into memory and dropped, and built on disk."""
    made = definition(augment, train)
    count = train * 11
    start = time.perf_counter()
    renderer = Renderer.from_definition(made)
    blocks = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
    with ThreadPoolExecutor(cores) as threads:
        for future in [threads.submit(_drop, renderer, block) for block in blocks]:
            future.result()
    in_memory = time.perf_counter() - start
    tiny = replace(made.game.images, val=1, test=1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        ensure_dataset(replace(made, game=replace(made.game, images=tiny)), Path(folder), workers=cores, quiet=True)
        return in_memory, time.perf_counter() - start


def _drop(renderer, block) -> None:  # type: ignore[no-untyped-def]
    renderer.render("train", block)


def memory(train: int) -> tuple[float, float]:
    """Megabytes at most, and seconds, of a build in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PEAK, "game=lol_gold1", f"game.images.train={train}", f"out={folder}"]
        start = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(run.stderr.split()[-2]) / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/RESULTS.md")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", type=int, default=91_000, help="training crops a class of the large build")
    parser.add_argument("--one-core", action="store_true", help=argparse.SUPPRESS)  # the pinned process
    args = parser.parse_args()
    if args.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(json.dumps(one_core(args.rounds)))
        return
    pinned = [sys.executable, __file__, "--one-core", f"--rounds={args.rounds}"]
    rates = json.loads(subprocess.run(pinned, capture_output=True, text=True, check=True).stdout)
    lines = ["| in memory, one core | crops/s (least to most) |", "|---|---|"]
    for name, title in PIPELINES.items():
        low, middle, high = min(rates[name]), statistics.median(rates[name]), max(rates[name])
        lines.append(f"| {title} | {middle:,.0f} ({low:,.0f}–{high:,.0f}) |")
    cores = os.cpu_count() or 1
    lines += ["", f"| {cores} threads, from nothing | in memory | on disk | ratio |", "|---|---|---|---|"]
    for augment in ("noise", "light"):
        pairs = [disk(augment, 36_000, cores) for _ in range(3)]
        fast, slow = (396_000 / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        lines.append(f"| 396,000 crops, `{augment}` | {fast:,.0f}/s | {slow:,.0f}/s | {slow / fast:.0%} |")
    lines += ["", "| build, `light` | seconds | most memory |", "|---|---|---|"]
    for train in (2_000, args.million):
        megabytes, seconds = memory(train)
        lines.append(f"| {train * 11 + 2200:,} crops | {seconds:.0f} | {megabytes:.0f} MB |")
    text = "\n".join([*lines, "", machine()])
    print(text)
    if args.write:
        write("speed", "textgen: speed and memory", "python benchmarks/textgen_speed.py --write", text)


if __name__ == "__main__":
    main()
