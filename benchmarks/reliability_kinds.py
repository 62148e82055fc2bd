"""The kinds of work that `benchmarks/reliability.py` kills: commands, what looks finished, and what may not be lost."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
SAVE_EVERY = 0.2  # seconds between two states of a prediction or of decoded frames here, instead of five
BLOCK_BYTES = 1 << 20  # of a block of images here, instead of 8 MB
TIMES = ("train_seconds", "train_images_per_second", "commit")  # keys of result.json that may differ between runs
Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of work.

    `module` has the command's `main`, called with `arguments` in a folder that begins as a copy of what `prepare` has
    written. `finished` gives the digests of files that look finished, by name; of a half-done job only what is there.
    `parts` describes finished parts of a job, and `lost` compares them before and after a start. `share` is that of the
    kills. `before` is called in the job's process.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    share: float
    finished: Callable[[Path], dict[str, str]]
    parts: Callable[[Path], Parts] = lambda folder: {}
    lost: Callable[[Parts, Parts], list[str]] = lambda before, after: []
    prepare: Callable[[Path], None] = lambda folder: None
    before: Callable[[], None] = lambda: None

    @property
    def command(self) -> str:
        program = self.module.removesuffix(".main")
        return " ".join([f"python -m {program}", *(f"'{a}'" if set(a) & set(" {[") else a for a in self.arguments)])


def digest(path: Path) -> str:
    return xxhash.xxh3_128_hexdigest(path.read_bytes())


def digest_all(folder: Path, files: str) -> dict[str, str]:
    """The digests of files that a pattern finds, without hidden ones."""
    found = sorted(folder.glob(files))
    return {str(path.relative_to(folder)): digest(path) for path in found if path.is_file()}


def same_stamps(before: Parts, after: Parts) -> list[str]:
    """Parts that were written again, or are gone, although there is no whole that they went into."""
    again = [f"{name} was made again" for name in before if name in after and after[name] != before[name]]
    gone = [] if "whole" in after else [f"{name} is gone" for name in before if name not in after]
    return again + gone


def not_less(before: Parts, after: Parts) -> list[str]:
    """Figures that went down, or are gone: where the work is complete, `Kind.parts` has them as infinite."""
    less = [name for name in before if name in after and after[name] < before[name]]
    gone = [f"{name} was {before[name]}, and is gone" for name in before if name not in after]
    return [f"{name} was {before[name]}, and is {after[name]}" for name in less] + gone


# ---- Data sets.

FLAT = "game.backgrounds=[{source: flat/, light: [1, 1]}]"  # one picture, which is read in a moment
GAME = (
    *("game=sot_time", FLAT, "game.images.train=400", "game.images.val=40", "game.images.test=40"),
    *("workers=1", "out=data"),
)


def draw_flat(folder: Path) -> None:
    (folder / "flat").mkdir()
    Image.new("RGB", (160, 96), "#204060").save(folder / "flat" / "flat.png")


def finished_data_set(folder: Path) -> dict[str, str]:
    """Every file of the data set under its final name."""
    return {
        name: value
        for path in folder.glob("data/sot_time/[0-9a-f]*")
        if "shard" not in path.name
        for name, value in digest_all(folder, f"data/sot_time/{path.name}/**/*").items()
    }


def data_set_parts(folder: Path) -> Parts:
    """Marks of blocks, or the manifest of the whole, with the times at which they were written."""
    for place in ("[0-9a-f]*", ".[0-9a-f]*.part"):
        for path in folder.glob(f"data/sot_time/{place}/manifest.json"):
            if "shard" in path.parent.name:
                continue
            try:
                json.loads(path.read_text())
            except ValueError:
                continue
            return {"whole": path.stat().st_mtime_ns}
    marks = folder.glob("data/sot_time/.[0-9a-f]*.part/done/*.json")
    return {path.name: path.stat().st_mtime_ns for path in marks if "shard" not in path.parts[-3]}


def small_blocks() -> None:
    importlib.import_module("textgen.dataset.store").BLOCK_BYTES = BLOCK_BYTES  # type: ignore[attr-defined]


def build_shards(folder: Path) -> None:
    draw_flat(folder)
    code = "import sys, reliability_kinds, textgen.main; reliability_kinds.small_blocks(); textgen.main.main()"
    for index in range(3):
        call(folder, *GAME, f"shard.index={index}", "shard.count=3", program=("-c", code))


# ---- Training.

TRAIN = (
    *("game=apex_count", FLAT, "game.images.train=40", "game.images.val=5", "game.images.test=5", "augment=off"),
    *("workers=1", "threads=1", "groupings=2"),
)


def build_training_data(folder: Path) -> None:
    """The data set that all jobs train with."""
    draw_flat(folder)
    call(folder, "textgen", *TRAIN[:6], "workers=1", "out=data")


def finished_runs(folder: Path) -> dict[str, str]:
    """Results without `TIMES`, weights and settings of runs that have a result; a network before has to be whole."""
    read_network_file = importlib.import_module("train.inference.network_file").read_network_file
    check_digests = importlib.import_module("textgen.common.digests").check_digests
    found = {}
    for path in sorted(folder.glob("runs/*/model.safetensors")):
        run = path.parent
        read_network_file(path)  # raises for a damaged one
        if (run / "result.json").exists():
            check_digests(run, "")
            result = json.loads((run / "result.json").read_text())
            without = json.dumps({key: value for key, value in result.items() if key not in TIMES})
            found[f"{run.name}/result.json"] = xxhash.xxh3_128_hexdigest(without.encode())
            found[f"{run.name}/model.safetensors"] = digest(path)
            found[f"{run.name}/config.yaml"] = digest(run / "config.yaml")
    return found


def training_parts(folder: Path) -> Parts:
    """Of each run the epoch and step of its newest checkpoint, or that it is finished."""
    checkpoint = importlib.import_module("train.trainer.checkpoint")
    parts: dict[str, Any] = {}
    for run in sorted(folder.glob("runs/*/")):
        if (run / "result.json").exists():
            parts[run.name] = (float("inf"), (run / "result.json").stat().st_mtime_ns)
        elif state := checkpoint._newest(run, lambda *_, **__: None):
            parts[run.name] = (state["progress"]["epoch"], state["progress"]["step"])
    return parts


def lost_training(before: Parts, after: Parts) -> list[str]:
    whole = [name for name, at in before.items() if at[0] == float("inf")]
    again = [f"{name} was trained again" for name in whole if after.get(name) != before[name]]
    return again + not_less(before, after)


# ---- Labelling.

CLOCK = ("game=lol_time", "game.spec=M:SS", "game.label=SS", "game.fields={M: 0..9, S: 00..59}")
OCR = find_spec("rapidocr_onnxruntime") is not None


def draw_clock(folder: Path, count: int = 160) -> None:
    """Crops of a clock, ten a second, on a background that moves, with their index; and a table of their texts."""
    font = ImageFont.truetype(ROOT / "fonts" / "oswald" / "oswald-500.ttf", 24)
    crops = folder / "crops" / "timer"
    crops.mkdir(parents=True)
    index, texts = ["file,region,frame,time\n"], ["file,text\n"]
    for at in range(count):
        seconds = 90 - at // 10
        text = f"{seconds // 60}:{seconds % 60:02}"
        picture = np.zeros((36, 88, 3), np.uint8)
        picture[..., 1] = 40 + 30 * np.sin(np.arange(88) / 9 + at / 5)
        image = Image.fromarray(picture)
        ImageDraw.Draw(image).text((14, 0), text, "#ffe066", font)
        image.save(crops / f"{at:07d}.png")
        index.append(f"timer/{at:07d}.png,timer,{at},{at / 10:.6f}\n")
        texts.append(f"timer/{at:07d}.png,{text}\n")
    (folder / "crops" / "index.csv").write_text("".join(index))
    (folder / "texts.csv").write_text("".join(texts))


def finished_labels(folder: Path) -> dict[str, str]:
    return digest_all(folder, "crops/labels.*") | digest_all(folder, "crops/doubtful.csv")


def readings(folder: Path) -> Parts:
    """How many crops have a reading, and how many were read more than once."""
    crops = []
    path = folder / "crops" / "readings.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            crops.append(json.loads(line)["crop"])
        except ValueError:
            continue
    return {"readings": len({*crops}), "not read again": len({*crops}) - len(crops)}


# ---- Predictions.


def record_and_train(folder: Path) -> None:
    """A stream, and a network that reads it."""
    call(folder, "textgen.stream", "game=apex_count", "seconds=40", "size=[320,180]", "place=[40,40]", "out=clip.mp4")
    draw_flat(folder)
    call(folder, "train", *TRAIN, "epochs=1", "fold=2", "out=run")


def save_often() -> None:
    importlib.import_module("train.predict.run").SAVE_EVERY = SAVE_EVERY  # type: ignore[attr-defined]


def state_of_rows(folder: Path) -> Parts:
    """The last frame whose rows are kept."""
    if (folder / "values.csv").exists():
        return {"frame": float("inf")}
    path = folder / ".values.csv.state.npz"
    if not path.exists():
        return {}
    with np.load(io.BytesIO(path.read_bytes())) as state:
        return {"frame": json.loads(state["about"].tobytes())["frame"]}


def finished_rows(folder: Path) -> dict[str, str]:
    """The table, in which every row has the fields of the first."""
    if (path := folder / "values.csv").exists():
        with path.open(newline="") as file:
            widths = {len(row) for row in csv.reader(file)}
        assert len(widths) == 1, widths
    return digest_all(folder, "values.csv")


# ---- Frames of a video.


def record_with_labels(folder: Path) -> None:
    """A stream, and a table that names an object in every second second."""
    call(folder, "textgen.stream", "game=apex_count", "seconds=40", "size=[320,180]", "place=[40,40]", "out=clip.mp4")
    rows = [f"{at},car,0.9,0,0,9,9\n" for at in range(40 * 30) if at // 30 % 2]
    (folder / "labels.csv").write_text("frame,object_name,confidence,xmin,ymin,xmax,ymax\n" + "".join(rows))


def decode_often() -> None:
    importlib.import_module("textgen.frames.decode").SAVE_EVERY = SAVE_EVERY  # type: ignore[attr-defined]


def decoded_frames(folder: Path) -> Parts:
    """How many frames are decoded."""
    if any(folder.glob("data/*/[0-9a-f]*/manifest.json")):
        return {"frame": float("inf")}
    states = [json.loads(path.read_text()) for path in folder.glob("data/*/.*.partial/state.json")]
    return {"frame": states[0]["next"]} if states else {}


def finished_frames(folder: Path) -> dict[str, str]:
    return digest_all(folder, "data/*/[0-9a-f]*/*")


def call(folder: Path, *arguments: str, program: tuple[str, ...] = ("-m",)) -> None:
    """Run a command, a module with its arguments, in `folder` to its end."""
    command = [sys.executable, *program, *arguments]
    paths = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}\n{ended.stderr}")


READER = ("reader=rapidocr",) if OCR else ("reader=file", "file=texts.csv")
KINDS = [
    Kind(
        *("training", "train.main", (*TRAIN, "fold=2", "epochs=4", "save_every=0.1"), 3),
        *(finished_runs, training_parts, lost_training, build_training_data),
    ),
    Kind(
        *("sweep", "train.main", ("-m", *TRAIN, "fold=1,2", "epochs=1", "save_every=0.1"), 1.5),
        *(finished_runs, training_parts, lost_training, build_training_data),
    ),
    Kind(
        *("prediction", "train.predict.main"),
        ("run=run", "source=clip.mp4", "regions={ammo: [40,40,25,19]}", "out=values.csv"),
        *(2, finished_rows, state_of_rows, not_less, record_and_train, save_often),
    ),
    Kind(
        *("labelling", "textgen.label.main", (*CLOCK, "crops=crops", *READER), 2),
        *(finished_labels, readings, not_less, draw_clock),
    ),
    Kind(
        *("data set", "textgen.main", GAME, 3, finished_data_set, data_set_parts, same_stamps),
        *(draw_flat, small_blocks),
    ),
    Kind(
        *("merge of shards", "textgen.main", (*GAME, "shard.merge=true", "shard.count=3"), 2.5),
        *(finished_data_set, data_set_parts, same_stamps, build_shards, small_blocks),
    ),
    Kind(
        *("frames of a video", "textgen.frames.main"),
        ("task=video", "task.object=car", "source=clip.mp4", "labels=labels.csv", "out=data"),
        *(1, finished_frames, decoded_frames, not_less, record_with_labels, decode_often),
    ),
]
