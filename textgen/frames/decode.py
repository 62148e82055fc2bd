"""Decode the frames of a video task to raw files, in bounded memory; a stopped command goes on where it was.

Which frames belong to a chunk depends on the number of frames that can be decoded, which a container may declare
wrongly or not at all. So the video is decoded with the declared number, and once more if that turns out to be wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.atomic import write_atomic
from textgen.common.bounded_text import load_json
from textgen.common.digests import digest_file
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.dataset.store import OTHER_DATA_FOLDER
from textgen.footage.frames import FrameReader, open_frames
from textgen.frames.chunks import Chunk, list_chunks
from textgen.frames.preparation import Preparation
from textgen.frames.settings import FRAME_SPLITS, FrameTask

SAVE_EVERY = 5.0  # seconds between two states on the disk
STATE = "state.json"
_Digests = dict[str, list[xxhash.xxh3_128]]  # by split, of its files of pixels and of numbers


@dataclass
class _State:
    """How far decoding is. `total` is the number of frames by which chunks are made, None while it is being counted.

    `next` is the first frame that is not yet decoded, `time` the seconds of the one before, and `stored` the number of
    frames of each split on the disk; `digests` are those of their two files.
    """

    total: int | None = None
    next: int = 0
    time: float = 0.0
    stored: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FRAME_SPLITS, 0))
    digests: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class DecodedFrames:
    """The scaled frames of a video task in raw files in `folder`.

    `declared` is the number of frames that the container names, `decoded` the number that there are (up to the end of
    the task's range), at `rate` frames a second; `problem` tells what was wrong with the video.
    """

    folder: Path
    size: tuple[int, int]
    declared: int | None
    decoded: int
    rate: float | None
    problem: str | None

    def read(self, split: str, count: int) -> Iterator[tuple[NDArray[np.int64], U8]]:
        """The frames of a split in order of time, `count` at a time: their numbers (n,) and pixels (n, H, W, 3)."""
        shape = (*self.size, 3)
        numbers = np.fromfile(_numbers_file(self.folder, split), np.int64)
        with _pixels_file(self.folder, split).open("rb") as file:
            for at in range(0, len(numbers), count):
                some = numbers[at : at + count]
                yield some, np.fromfile(file, np.uint8, len(some) * int(np.prod(shape))).reshape(-1, *shape)

    def count(self, split: str) -> int:
        """The number of frames of a split."""
        return _numbers_file(self.folder, split).stat().st_size // np.dtype(np.int64).itemsize


def decode_frames(task: FrameTask, source: Path, folder: Path) -> DecodedFrames:
    """Decode the frames that `task` takes of `source` to `folder`, or what is left of them.

    Raises `UserError` for a source that is no video, and for a range beyond its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _load_state(folder)
    digests = _digest_stored(folder, state, _size(task))
    if digests is None:
        state, digests = _State(), {}
    while True:
        start = state.time if state.next else None
        with open_frames(source, start=start) as reader:
            declared = reader.frames
            if state.total is None and not state.next:
                state.total = task.range[1] if task.range else declared
            try:
                _decode(task, reader, folder, state, digests)
            except UserError as error:  # such as a frame of another size
                raise UserError(f"{error.summary}; of a task, task.range=[first,end] is a part") from None
            rate, problem = reader.frame_rate, reader.problem
        if state.total == state.next or (task.range and state.next >= _last_needed(task, state.total)):
            return DecodedFrames(folder, _size(task), declared, state.next, rate, problem)
        if task.range and task.range[1] > state.next:
            raise UserError(f"task.range ends at frame {task.range[1]:,}, and {source} has {state.next:,}: change it")
        if state.total is not None:
            print(f"{source} declares {state.total:,} frames and has {state.next:,}: decoding again", file=sys.stderr)
        state, digests = _State(total=state.next), {}
        _save_state(folder, state)


def _decode(task: FrameTask, reader: FrameReader, folder: Path, state: _State, digests: _Digests) -> None:
    """Decode from `state.next` on, which is changed as frames are stored; without a total, only count.

    `digests` are those of the frames that `state` counts as stored, which go on with the frames that are added.
    """
    chunks = list_chunks(task, state.total) if state.total is not None else []
    last = _last_needed(task, state.total) if task.range else None
    prepare, resumed_at, saved_at = Preparation(_size(task), region=task.region), state.next, time.perf_counter()
    name = task.name if chunks else f"{task.name}, counting frames"
    with ExitStack() as stack:
        size = _size(task)
        files = {
            split: stack.enter_context(_SplitFiles(folder, split, state.stored[split], size, digests.get(split)))
            for split in FRAME_SPLITS
        }
        bar = stack.enter_context(progress_bar(last or state.total, name, done=state.next, unit=" frames"))

        def save() -> None:
            for split, each in files.items():
                state.digests[split] = each.sync()
            _save_state(folder, state)

        try:
            for frame in reader:
                if frame.index < resumed_at:
                    continue
                if last is not None and frame.index >= last:
                    break
                if chunk := _find_chunk(chunks, frame.index, task.step):
                    files[chunk.split].add(frame.index, prepare(frame))
                    state.stored[chunk.split] += 1
                state.next, state.time = frame.index + 1, frame.time
                bar.update(1)
                del frame
                if time.perf_counter() - saved_at > SAVE_EVERY:
                    save()
                    saved_at = time.perf_counter()
            save()
        except KeyboardInterrupt:
            save()
            raise KeyboardInterrupt(f"stopped at frame {state.next:,}; the same command goes on from there") from None


def _find_chunk(chunks: list[Chunk], frame: int, step: int) -> Chunk | None:
    return next((chunk for chunk in chunks if chunk.takes(frame, step)), None)


def _last_needed(task: FrameTask, total: int | None) -> int:
    """The end of the last chunk that is needed: where the range says how many frames there are, no more are decoded."""
    assert total is not None
    return max(chunk.last for chunk in list_chunks(task, total))


def _size(task: FrameTask) -> tuple[int, int]:
    return task.size[0], task.size[1]


def _pixels_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.pixels"


def _numbers_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.numbers"


class _SplitFiles:
    """The raw files of one split: pixels and frame numbers, of which the first `stored` frames are kept.

    `digests` are those of these frames, in both files; without them, no frames are stored.
    """

    def __init__(
        self, folder: Path, split: str, stored: int, size: tuple[int, int], digests: list[xxhash.xxh3_128] | None = None
    ) -> None:
        self._paths = _pixels_file(folder, split), _numbers_file(folder, split)
        self._sizes = [stored * each for each in _frame_bytes(size)]
        assert digests or not stored
        self._digests = digests or [xxhash.xxh3_128() for _ in self._paths]

    def __enter__(self) -> _SplitFiles:
        self._files: tuple[IO[bytes] | None, ...] = (None, None)
        for path in self._paths:
            path.touch()
        self._pixels, self._numbers = (path.open("r+b") for path in self._paths)
        for file, size in zip((self._pixels, self._numbers), self._sizes, strict=True):
            file.truncate(size)  # what a killed process wrote behind its last state is dropped
            file.seek(size)
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels.close()
        self._numbers.close()

    def add(self, number: int, frame: U8) -> None:
        written = np.ascontiguousarray(frame).tobytes(), np.int64(number).tobytes()
        for file, digest, data in zip((self._pixels, self._numbers), self._digests, written, strict=True):
            file.write(data)
            digest.update(data)

    def sync(self) -> list[str]:
        """Wait until all frames are on the disk; return the digests of both files."""
        for file in (self._pixels, self._numbers):
            file.flush()
            os.fsync(file.fileno())
        return [digest.hexdigest() for digest in self._digests]


def _digest_stored(folder: Path, state: _State, size: tuple[int, int]) -> _Digests | None:
    """The digests of the frames that the state counts; None if the files do not hold them.

    There may be more frames in the files, which a killed process has written.
    """
    found: _Digests = {}
    for split, count in state.stored.items():
        paths, expected = (_pixels_file(folder, split), _numbers_file(folder, split)), state.digests.get(split)
        if not count:
            continue
        if not all(path.exists() for path in paths):
            return None
        sizes = [count * each for each in _frame_bytes(size)]
        found[split] = [digest_file(path, size) for path, size in zip(paths, sizes, strict=True)]
        if [digest.hexdigest() for digest in found[split]] != expected:
            return None
    return found


def _frame_bytes(size: tuple[int, int]) -> tuple[int, int]:
    """The bytes of a frame of `size` (H, W) in the files of pixels and of numbers."""
    return size[0] * size[1] * 3, np.dtype(np.int64).itemsize


def _load_state(folder: Path) -> _State:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found: Any = load_json(folder / STATE)
        if found.pop("check") != _check(found):
            return _State()
        state = _State(**found)
        if all(isinstance(state.stored[split], int) for split in FRAME_SPLITS) and isinstance(state.next, int):
            return state
    return _State()


def _save_state(folder: Path, state: _State) -> None:
    about = asdict(state)
    data = json.dumps({**about, "check": _check(about)}).encode()
    write_atomic(folder / STATE, data, OTHER_DATA_FOLDER)


def _check(about: dict[str, Any]) -> str:
    """The digest of a state's other values."""
    return xxhash.xxh3_128_hexdigest(json.dumps(about).encode())
