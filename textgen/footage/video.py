"""Videos and streams as footage, decoded with PyAV."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from textgen.common.errors import UserError
from textgen.common.pictures import MAX_PIXELS
from textgen.common.pyav import import_pyav
from textgen.footage.frames import PICTURE_RATE, Footage, Frame
from textgen.footage.pixels import DecodedPixels

NEEDS_PYAV = "videos and streams need PyAV: pip install 'foldtext[video]'; pictures do not"
OPEN_SECONDS, READ_SECONDS = 15.0, 30.0  # how long a stream may say nothing
MAX_THREADS = 4  # each holds a frame
NO_VIDEO = ("tty", "bin", "xbin", "idf", "adf")  # text files, which the library would draw
MICROSECONDS = 1_000_000  # a second, in a container's unit
TOLERANCE = 0.5  # seconds that a container's duration may exceed the last frame


@dataclass(frozen=True)
class KeyFrame:
    """Where decoding begins: time stamps of presentation and of decoding, and the frame's index."""

    pts: int
    dts: int
    index: int


class VideoFootage(Footage):
    """A video file, or a stream by its URL, in bounded memory."""

    def __init__(self, name: str, *, is_url: bool) -> None:
        """Raises `UserError` for what cannot be opened as a video."""
        self.name, self._is_url = name, is_url
        self._open()
        stream = self._stream
        rate = stream.average_rate or stream.guessed_rate
        self.frame_rate = float(rate) if rate else None
        self.frames = int(stream.frames) or None
        self.seconds = self._declared_seconds() or float(self._container.duration or 0) / MICROSECONDS or None
        self.is_live = is_url and not self._container.duration
        self._first_pts: int | None = None
        self._cut_off = False

    def read(self, start: float | None) -> Iterator[Frame]:
        key = self._find_key_frame(start) if start and not self._is_url else None
        yield from self._decode(key)

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        av = import_pyav(NEEDS_PYAV)
        try:
            if self._is_url:
                self._container = av.open(self.name, timeout=(OPEN_SECONDS, READ_SECONDS))
            else:
                self._container = av.open(f"file:{os.path.abspath(self.name)}")
        except (av.FFmpegError, OSError) as error:
            raise UserError(_describe_unreadable(self.name, self._is_url, error)) from None
        try:
            self._stream = self._find_stream(av)
            context = self._stream.codec_context
            context.options = {"max_pixels": str(MAX_PIXELS)}  # of any frame: the container may declare another size
            context.thread_type, context.thread_count = "AUTO", min(MAX_THREADS, os.cpu_count() or 1)
        except BaseException:
            self._container.close()
            raise

    def _find_stream(self, av: Any) -> Any:
        cover = getattr(av.stream.Disposition, "attached_pic", 0)  # the picture of an album
        streams = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        if not streams or self._container.format.name in NO_VIDEO:
            kinds = sorted({stream.type for stream in self._container.streams} - {"video"})
            holds = f": it holds {', '.join(kinds)}" if kinds else ""
            raise UserError(f"{self.name} is no video{holds}; give a video file, a folder of pictures or a URL")
        stream = streams[0]
        if stream.codec_context is None:
            raise UserError(
                f"{self.name}: this PyAV has no decoder for its video; convert it, for example to H.264 in MP4"
            )
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            declared = f"{width}×{height} pixels, more than {MAX_PIXELS:,}"
            raise UserError(f"{self.name} declares frames of {declared}: scale it down")
        return stream

    def _find_key_frame(self, start: float) -> KeyFrame | None:
        """The last key frame at or before `start` seconds; None to decode from the beginning.

        Its index is the number of packets that are shown before it. For that the file is read from its beginning on,
        which is quick as nothing is decoded: with a variable frame rate nothing else tells.
        """
        unit, shown, keys = float(self._stream.time_base), array("q"), []
        limit, last = None, None
        with suppress(import_pyav(NEEDS_PYAV).FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size == 0:
                    break
                if packet.pts is None or packet.dts is None or (last is not None and packet.dts < last):
                    self._reopen()  # without time stamps, or several recordings in one file
                    return None
                last = packet.dts
                if limit is not None and packet.dts > limit:
                    break
                if not packet.is_discard:
                    shown.append(packet.pts)
                    limit = min(shown[0], packet.pts) + start / unit if limit is None else limit
                if packet.is_keyframe:
                    keys.append((packet.pts, packet.dts))
        self._reopen()
        if not shown:
            return None
        ordered = sorted(shown)
        wanted = ordered[0] + start / unit
        before = [(pts, dts) for pts, dts in keys if pts <= wanted]
        if not before or max(before)[0] <= ordered[0]:
            return None
        pts, dts = max(before)
        key = KeyFrame(pts, dts, bisect_left(ordered, pts))
        self._container.seek(pts, stream=self._stream)
        if not any(True for _ in self._packets(key)):
            self._reopen()
            return None
        self._container.seek(pts, stream=self._stream)
        self._first_pts = ordered[0]
        return key

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _packets(self, key: KeyFrame | None) -> Iterator[Any]:
        """Packets from a key frame on, the last one None, so that the decoder gives the frames that it holds.

        None at all if the container has been positioned behind the key frame.
        """
        av = import_pyav(NEEDS_PYAV)
        began = key is None
        try:
            for packet in self._container.demux(self._stream):
                if not began and key is not None:
                    if packet.size == 0 or packet.dts is None or packet.dts > key.dts:
                        return
                    began = packet.dts == key.dts
                if packet.is_corrupt:
                    self._cut_off = True
                elif began and packet.size:
                    yield packet
        except (av.FFmpegError, OSError) as error:
            self.problem = f"{self.name}: reading stopped: {error.strerror}"
        yield None

    def _decode(self, key: KeyFrame | None) -> Iterator[Frame]:
        av = import_pyav(NEEDS_PYAV)
        context, unit = self._stream.codec_context, float(self._stream.time_base)
        index, skip_before = (key.index, key.pts) if key else (0, None)
        time, last_pts, damaged, failed = 0.0, None, 0, None
        for packet in self._packets(key):
            try:
                decoded = context.decode(packet)
            except av.FFmpegError as error:
                damaged, failed = damaged + 1, failed or error
                continue
            for picture in decoded:
                pts = picture.pts if picture.pts is not None else picture.dts
                if skip_before is not None and pts is not None and pts < skip_before:
                    continue  # it needs frames before the key frame
                skip_before = None
                step = 1 / (self.frame_rate or PICTURE_RATE)
                if pts is None:
                    time += step if index else 0
                else:
                    first = pts if self._first_pts is None else self._first_pts
                    if last_pts is not None and pts < last_pts:  # another recording begins
                        first = pts - round((time + step) / unit)
                    self._first_pts, last_pts = first, pts
                    time = (pts - first) * unit
                if picture.is_corrupt:
                    damaged += 1
                else:
                    yield Frame(index, time, DecodedPixels(picture))
                index += 1
            del decoded
        self._tell_problems(time, damaged, index, failed)

    def _tell_problems(self, time: float, damaged: int, index: int, failed: Exception | None) -> None:
        missing = (self._declared_seconds() or 0) - time
        if self._cut_off or (missing > self._tolerance() and not self._is_url):
            self.problem = f"{self.name} is cut off: its last whole frame is at {time:.2f} s"
            if missing > TOLERANCE:
                self.problem += f", and {time + missing:.2f} s are declared"
        elif damaged and self.problem is None:
            self.problem = f"{self.name}: {damaged} of {index} frames are damaged and were left out"
        if index == 0 and failed is not None:
            codec = self._stream.codec_context.name
            self.problem = f"the decoder of {codec} says: {getattr(failed, 'strerror', failed)}"

    def _declared_seconds(self) -> float | None:
        """The declared duration of the video."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        hours, *rest = self._stream.metadata.get("DURATION", "").split(":")  # Matroska
        with suppress(ValueError):
            if len(rest) == 2:
                return int(hours) * 3600 + int(rest[0]) * 60 + float(rest[1])
        return None

    def _tolerance(self) -> float:
        return TOLERANCE if not self.frame_rate else max(TOLERANCE, 3 / self.frame_rate)


def _describe_unreadable(name: str, is_url: bool, error: Any) -> str:
    reason = error.strerror or error
    if not is_url and _begins_as_mp4(name):
        reason = "it has no table of frames (moov): it is cut off, or its recording was never finished"
    if is_url:
        return f"{name} cannot be opened: {reason}; check the address and the network"
    return f"{name} cannot be read as a video: {reason}; give a whole video file, a folder of pictures or a URL"


def _begins_as_mp4(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"ftyp"
