"""Record clips of open games without a screen, for the comparison of readers on real footage.

    python benchmarks/footage/record.py recordings            # all clips of recordings.yaml that are not there yet
    python benchmarks/footage/record.py recordings toppler_a  # some of them

Each game runs in a window on a virtual X server, drawn by Mesa on the CPU; keys and clicks go to it by xdotool, and
ffmpeg records the window as H.264. Two runs do not record the same frames: labels belong to one recording.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import yaml

from textgen.common.errors import UserError

RECORDINGS = Path(__file__).with_name("recordings.yaml")
PROGRAMS = {"Xvfb": "xvfb", "ffmpeg": "ffmpeg", "xdotool": "xdotool"}  # program: its Debian package
SIZE = (800, 600)
FRAME_RATE = 30
KILOBITS = 1500  # a second


@dataclass(frozen=True)
class Recording:
    """How a clip is recorded; recordings.yaml says what the fields mean."""

    name: str
    package: str
    command: str
    start: tuple[str, ...]
    play: tuple[str, ...]
    seconds: float

    @property
    def program(self) -> str:
        return self.command.split()[0]


def read_recordings(path: Path = RECORDINGS) -> dict[str, Recording]:
    """The clips that a file describes, by name."""
    recordings = {}
    for name, entry in yaml.safe_load(path.read_text("utf-8")).items():
        recordings[name] = Recording(name, **{**entry, "start": tuple(entry["start"]), "play": tuple(entry["play"])})
        for step in recordings[name].start + recordings[name].play:
            parse_step(step)
    return recordings


def parse_step(step: str) -> float | tuple[str, ...]:
    """The seconds to wait, or the arguments of xdotool.

    Raises `UserError` where the step has another form.
    """
    match step.split():
        case ["wait", seconds]:
            return float(seconds)
        case ["key", key]:
            return "key", key
        case ["down", key]:
            return "keydown", key
        case ["up", key]:
            return "keyup", key
        case ["move", x, y]:
            return "mousemove", x, y
        case ["click"]:
            return "click", "1"
    raise UserError(f"step {step!r}: expected 'wait S', 'key K', 'down K', 'up K', 'move X Y' or 'click'")


def missing_packages(recordings: Sequence[Recording]) -> list[str]:
    """The Debian packages of the programs that are not installed."""
    wanted = PROGRAMS | {recording.program: recording.package for recording in recordings}
    return sorted({package for program, package in wanted.items() if shutil.which(program, path=_path()) is None})


def _path() -> str:
    """Debian has its games in a folder that is not in every PATH."""
    return os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/games"


@contextmanager
def virtual_screen() -> Iterator[dict[str, str]]:
    """The environment for programs on a new X server, with a home folder of their own and no sound."""
    read, write = os.pipe()
    size = "x".join(map(str, SIZE))
    # -noreset: otherwise the server starts afresh when the first of several programs has left.
    server = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"]
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(server, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        try:
            with os.fdopen(read) as display:
                number = display.readline().strip()  # appears as soon as the server accepts programs
            if not number:
                raise UserError("Xvfb did not start: run it by hand to see why")
            yield os.environ | {
                "DISPLAY": f":{number}",
                "PATH": _path(),
                "HOME": home,
                "SDL_AUDIODRIVER": "dummy",
                "ALSOFT_DRIVERS": "null",
                "LIBGL_ALWAYS_SOFTWARE": "1",
            }
        finally:
            process.terminate()
            process.wait()


def record(recording: Recording, out: Path) -> None:
    """Play a game and record it.

    Raises `UserError` if the game ends early.
    """
    with virtual_screen() as environment:
        game = subprocess.Popen(
            ["nice", "-n", "2", *recording.command.split()],  # behind the recording, which must not lose frames
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _send(recording.start, environment)
            _record_screen(recording, out, environment)
            if game.poll() is not None:
                out.unlink(missing_ok=True)
                raise UserError(
                    f"{recording.name}: `{recording.command}` ended with {game.returncode} while it was recorded"
                )
        finally:
            if game.poll() is None:
                os.killpg(game.pid, signal.SIGKILL)
            game.wait()


def _record_screen(recording: Recording, out: Path, environment: dict[str, str]) -> None:
    unfinished = out.with_name(f".{out.name}")
    size, rate = "x".join(map(str, SIZE)), str(FRAME_RATE)
    source = [
        "-f",
        "x11grab",
        "-draw_mouse",
        "0",
        "-framerate",
        rate,
        "-video_size",
        size,
        "-i",
        environment["DISPLAY"],
    ]
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", f"{KILOBITS}k", "-pix_fmt", "yuv420p", "-threads", "1"]
    length = ["-r", rate, "-t", str(recording.seconds)]
    ffmpeg = subprocess.Popen(
        ["ffmpeg", "-loglevel", "error", "-y", *source, *encoder, *length, "-f", "mp4", str(unfinished)],
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    try:
        for step in cycle(recording.play):
            if ffmpeg.poll() is not None:
                break
            _send([step], environment)
        if ffmpeg.returncode:
            raise UserError(f"{recording.name}: ffmpeg ended with {ffmpeg.returncode}")
        unfinished.replace(out)
    finally:
        if ffmpeg.poll() is None:
            ffmpeg.kill()
            ffmpeg.wait()
        unfinished.unlink(missing_ok=True)


def _send(steps: Sequence[str], environment: dict[str, str]) -> None:
    for step in steps:
        parsed = parse_step(step)
        if isinstance(parsed, float):
            time.sleep(parsed)
        else:
            subprocess.run(["xdotool", *parsed], env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for <clip>.mp4")
    parser.add_argument("clips", nargs="*", help="names of recordings.yaml; all that the folder lacks if not given")
    arguments = parser.parse_args()
    recordings = read_recordings()
    if unknown := set(arguments.clips) - set(recordings):
        raise UserError(f"no such clip: {', '.join(sorted(unknown))}; expected some of {', '.join(recordings)}")
    names = arguments.clips or [name for name in recordings if not (arguments.out / f"{name}.mp4").exists()]
    chosen = [recordings[name] for name in names]
    if packages := missing_packages(chosen):
        raise UserError(f"programs are missing: apt-get install -y --no-install-recommends {' '.join(packages)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for recording in chosen:
        print(f"{recording.name}: {recording.seconds} s of {recording.command}", flush=True)
        record(recording, arguments.out / f"{recording.name}.mp4")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
