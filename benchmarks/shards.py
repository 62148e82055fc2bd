"""A data set in shards: time, memory and disk of making, repairing and merging it, and of training from it.

    python benchmarks/shards.py [--crops 1000000] [--shards 64] [--kills 6] [--whole] [--training] [--out /tmp/shards]

Crops of lol_gold1. Two processes make the shards at the same time, and are killed now and then; a byte of a finished
shard is changed; the same commands are given until all shards are there. With --whole the shards are merged and
compared with a single build, which takes twice their disk more. With --training, images are read from the shards and
from the single build. Prints a table; `--write` replaces it in RESULTS.md. The folder is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from results import machine, write

ROOT = Path(__file__).parents[1]
CLASSES, BYTES = 11, 22 * 52 * 3  # of lol_gold1
READ = """
import sys, time
import torch
from textgen.dataset.store import open_dataset
from train.data.order import EpochBatches, batch_sizes
from train.data.shard_source import ShardSource
from train.data.sharded import open_shards
from train.data.sources import to_device
from train.data.storage import open_storage
from train.trainer.curriculum import epoch_order

kind, place, digest = sys.argv[1:]
cpu = torch.device("cpu")
if kind == "shards":
    source = ShardSource(open_shards(open_storage(place), "lol_gold1", digest, ""), cpu, 0)
else:
    source = to_device(open_dataset(place).splits["train"], cpu)
windows, total = source.windows(0), len(source.labels)
start, seen = time.perf_counter(), 0
draw = lambda number: windows[number][epoch_order(source.labels[windows[number]], 11, 0, 0, number)]
for images in source.batches(0, EpochBatches(draw, batch_sizes(total, 512, 1))):
    seen += len(images)
assert seen == total
print(total / (time.perf_counter() - start))
"""


@dataclass
class Used:
    """What processes have taken: seconds of wall time, of processor time, and the most bytes of memory of one."""

    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0


class Processes:
    """Processes that run at the same time; some are killed."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path):
        self.log = log
        self.commands, self.used = commands, Used()

    def run(self, kills: int, draw: random.Random) -> int:
        """Run all commands, those that are killed again, until `kills` are done and all have ended. Returns how many
        were killed."""
        begun, killed = time.perf_counter(), 0
        with self.log.open("ab") as log:

            def start(command: Sequence[str]) -> int:
                return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT).pid

            running = {start(command): command for command in self.commands}
            while running:
                if kills > killed and (pid := draw.choice(list(running))):
                    time.sleep(draw.uniform(6, 20))
                    os.kill(pid, signal.SIGKILL)  # a zombie at worst: it has not been waited for
                pid, status, usage = os.wait4(-1, 0)
                command = running.pop(pid)
                self.used.cpu += usage.ru_utime + usage.ru_stime
                self.used.memory = max(self.used.memory, usage.ru_maxrss * 1024)
                if os.WIFSIGNALED(status):
                    killed += 1
                    running[start(command)] = command
                elif status:
                    sys.exit(f"{' '.join(command)} failed: see {self.log}")
        self.used.wall = time.perf_counter() - begun
        return killed


def textgen(crops: int, out: Path, *settings: str) -> list[str]:
    """A command; the crops are those of the training split."""
    images = [f"game.images.train={-(-crops // CLASSES)}", "game.images.val=100", "game.images.test=100"]
    return [sys.executable, "-m", "textgen", "game=lol_gold1", *images, f"out={out}", *settings]


def measured(command: Sequence[str], log: Path) -> Used:
    processes = Processes([command], log)
    processes.run(0, random.Random(0))
    return processes.used


def read(*arguments: str) -> tuple[float, int]:
    """Images a second of one epoch without a network, and the most bytes of memory of the process."""
    with subprocess.Popen(
        [sys.executable, "-c", READ, *arguments], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as child:
        assert child.stdout
        rate = float(child.stdout.read())
        _, _, usage = os.wait4(child.pid, 0)
        child.returncode = 0
    return rate, usage.ru_maxrss * 1024


def row(name: str, used: Used, crops: int) -> str:
    rate = f"{crops / used.wall:,.0f} | {crops / used.cpu:,.0f}" if used.cpu else "– | –"
    return f"| {name} | {used.wall:,.0f} | {used.cpu:,.0f} | {used.memory / 1e6:,.0f} MB | {rate} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("/tmp/shards"))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.out.exists():
        sys.exit(f"{arguments.out} exists: give another folder with --out")
    arguments.out.mkdir(parents=True)
    try:
        lines = run(arguments)
    finally:
        shutil.rmtree(arguments.out)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write("shards", "Shards", f"python benchmarks/shards.py {' '.join(sys.argv[1:])}", text)


def run(arguments: argparse.Namespace) -> list[str]:
    """Measure, and return the lines of the report."""
    crops, count, out, log = arguments.crops, arguments.shards, arguments.out, arguments.out / "log"
    middle = count // 2
    halves = [
        [*textgen(crops, out, f"shard.count={count}", f"shard.index=range({first},{last})", "workers=1"), "-m"]
        for first, last in ((0, middle), (middle, count))
    ]
    making = Processes(halves, log)
    killed = making.run(arguments.kills, random.Random(0))
    folders = sorted(out.glob(f"*/*.shard-*-of-{count}"))
    images = sum((folder / "train.images.npy").stat().st_size for folder in folders)
    everything = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    crops_made = sum(json.loads((f / "manifest.json").read_text())["splits"]["train"]["images"] for f in folders)
    damaged = folders[len(folders) // 3]
    with (damaged / "train.images.npy").open("r+b") as file:
        file.seek(images // count // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    before = {folder: (folder / "manifest.json").stat().st_mtime_ns for folder in folders}
    told = log.stat().st_size
    again = Processes(halves, log)
    again.run(0, random.Random(0))
    messages = log.read_bytes()[told:].decode().splitlines()
    named = [line for line in messages if "is damaged, and is made again" in line]
    remade = [folder for folder in folders if (folder / "manifest.json").stat().st_mtime_ns != before[folder]]
    assert len(named) == 1, named
    assert damaged.name in named[0], named
    assert remade == [damaged], remade
    lines = [
        f"{crops_made:,} training crops of lol_gold1 in {count} shards, {everything / 1e9:.2f} GB"
        f" ({everything / crops_made:,.0f} bytes a crop, {BYTES:,} of them the image). Two processes with one thread"
        f" each; SIGKILL ended them {killed} times, and the same commands were given again. Then one byte of a shard"
        " was changed, and the same commands were given again: that shard alone was named and made again.",
        "",
        "| | wall, s | processor, s | most memory of a process | crops/s | crops per processor second |",
        "|---|---|---|---|---|---|",
        row(f"{count} shards, with {killed} kills", making.used, crops_made),
        row(f"{count} shards verified, 1 made again", again.used, crops_made),
    ]
    if arguments.whole:
        merged = measured(textgen(crops, out, f"shard.count={count}", "shard.merge=true"), log)
        single = measured(textgen(crops, out / "single"), log)
        lines += [row("merged", merged, crops_made), row("a single build, two threads", single, crops_made)]
        (one,) = (path for path in (out / "lol_gold1").iterdir() if path.name.isalnum())
        other = out / "single" / "lol_gold1" / one.name
        names = sorted(path.name for path in one.iterdir())
        assert names == sorted(path.name for path in other.iterdir())
        assert all(same(one / name, other / name) for name in names)
        lines += ["", f"All {len(names)} files of the merged folder have the same bytes as those of the single build,"]
        lines += ["the manifest with its hash and the digests of all blocks among them."]
        if arguments.training:
            lines += reading(out, one)
    lines += ["", *projection(crops_made, everything, making.used), "", machine()]
    return lines


def same(one: Path, two: Path) -> bool:
    """Whether two files have the same bytes."""
    with one.open("rb") as a, two.open("rb") as b:
        parts: Callable[[], tuple[bytes, bytes]] = lambda: (a.read(1 << 22), b.read(1 << 22))  # noqa: E731
        while (pair := parts())[0] or pair[1]:
            if pair[0] != pair[1]:
                return False
    return True


def reading(out: Path, whole: Path) -> list[str]:
    """Images a second from shards and from the whole in memory."""
    digest = json.loads((whole / "manifest.json").read_text())["hash"]
    lines = ["", "| an epoch read in batches of 512, without a network | images/s | most memory |", "|---|---|---|"]
    for kind, place in (("shards", out), ("files", whole)):
        rate, memory = read(kind, str(place), digest)
        lines.append(f"| `data={kind}` | {rate:,.0f} | {memory / 1e6:,.0f} MB |")
    return lines


def projection(crops: int, size: int, used: Used) -> list[str]:
    """To 10^9 crops, from the processor seconds and bytes of a crop."""
    hours = used.cpu / crops * 1e9 / 3600
    return [
        f"10^9 crops, in proportion: {hours:,.1f} processor hours ({used.cpu / crops * 1e6:.1f} µs a crop) and"
        f" {size / crops / 1e3:.2f} TB; {hours / 1000 * 60:.1f} minutes on 1,000 cores, if the storage takes the bytes"
        " at that rate."
    ]


if __name__ == "__main__":
    main()
