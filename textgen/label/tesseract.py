"""`reader=tesseract`: the program tesseract, where it is installed, once for each batch of crops.

It is made for dark print on paper. So each crop is read twice: as its difference from the colour of its edge, which
finds coloured and outlined texts, and in grey. The program's own confidence says little when it is told which
characters there are: many right texts have none. What counts is whether both pictures give the same text of the game.
That was right in all of 242 crops of five counters, and wrong in 4 of 11 where they gave different ones.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.label.matching import Matcher
from textgen.label.readers import Reader, ReaderSettings, Reading, refuse_run

PROGRAM = "tesseract"
LINE = "7"  # its page segmentation mode for one line of text
VERSION = 1  # raised with every change of what the program gets
AGREED, DIFFERENT, GREY = 0.95, 0.3, 0.5  # confidence: at least, at most, and at most of grey alone
NOTHING = Reading("", 0.5)  # which it also finds in many crops with a text


def make_reader(settings: ReaderSettings) -> Reader:
    """Return the reader. Raises `UserError` if the program is not installed."""
    refuse_run("tesseract", settings)
    program = shutil.which(PROGRAM)
    if program is None:
        raise UserError(
            "reader=tesseract needs the program tesseract, which is not in the PATH: install it, on Debian and Ubuntu"
            " with sudo apt-get install tesseract-ocr, on macOS with brew install tesseract"
        )
    return Tesseract(program, settings)


class Tesseract:
    """The program at the path `program`; it is told the characters of the spec."""

    def __init__(self, program: str, settings: ReaderSettings) -> None:
        self._program, self._threads, self._matcher = program, settings.threads, Matcher(settings.spec)
        self._characters = "".join(sorted(settings.spec.characters - {" "}))
        ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found = (ended.stdout + ended.stderr).split()[1:2]
        self.name = f"tesseract {' '.join(found)} {VERSION} {self._characters}"

    def read(self, crops: Sequence[U8]) -> list[Reading]:
        """Read crops, RGB uint8 (h, w, 3)."""
        pictures = [picture for crop in crops for picture in (subtract_edge(crop), to_grey(crop))]
        readings = self._read_pictures(pictures)
        return [self._choose(*readings[at : at + 2]) for at in range(0, len(readings), 2)]

    def _choose(self, edge: Reading, grey: Reading) -> Reading:
        """The reading of a crop, from those of its two pictures."""
        matches = [self._matcher.match(reading.text or "") for reading in (edge, grey)]
        better = max(edge, grey, key=lambda reading: (bool(reading.text), reading.confidence))
        if matches[0] and matches[0] == matches[1]:
            return better._replace(confidence=max(better.confidence, AGREED))
        if matches[0] and matches[1]:
            return better._replace(confidence=min(better.confidence, DIFFERENT))
        if matches[1]:
            return grey._replace(confidence=min(grey.confidence, GREY))
        return edge if matches[0] else better

    def _read_pictures(self, pictures: Sequence[U8]) -> list[Reading]:
        """Read grey pictures as one job; one by one if the program breaks down, as it does on a few pictures."""
        if not pictures:
            return []
        with tempfile.TemporaryDirectory(prefix="foldtext-") as folder:
            names = [str(Path(folder) / f"{number}.png") for number in range(len(pictures))]
            for name, picture in zip(names, pictures, strict=True):
                cv2.imwrite(name, picture)
            listing = Path(folder) / "pictures.txt"
            listing.write_text("\n".join(names) + "\n", encoding="utf-8")
            ended = self._run(str(listing))
        if ended.returncode == 0:
            return _parse(ended.stdout, len(pictures))
        if ended.returncode > 0:  # its own message, such as one about missing language data
            problem = " ".join(ended.stderr.split())[-200:]
            raise UserError(f"tesseract fails: {problem}; mend its installation, or take another reader")
        if len(pictures) == 1:
            return [NOTHING]
        return [reading for picture in pictures for reading in self._read_pictures([picture])]

    def _run(self, listing: str) -> subprocess.CompletedProcess[str]:
        command = [self._program, listing, "stdout", "--psm", LINE, "-c", f"tessedit_char_whitelist={self._characters}"]
        environment = {**os.environ, "OMP_THREAD_LIMIT": str(self._threads)}
        return subprocess.run(
            [*command, "tsv"], capture_output=True, text=True, encoding="utf-8", check=False, env=environment
        )


def subtract_edge(crop: U8) -> U8:
    """How far each pixel is from the colour of the crop's edge, dark for far, uint8 (h, w), enlarged and padded."""
    scaled = _scale(crop, 64).astype(np.float32)
    difference = np.abs(scaled - np.median(_edge(scaled), axis=0)).max(2)
    difference *= 255 / max(float(np.percentile(difference, 99)), 1)
    return _pad(255 - np.clip(difference, 0, 255), 24)


def to_grey(crop: U8) -> U8:
    """The crop in grey, with a light edge, uint8 (h, w), enlarged and padded."""
    grey = cv2.cvtColor(_scale(crop, 48), cv2.COLOR_RGB2GRAY)
    return _pad(255 - grey if np.median(_edge(grey)) < 128 else grey, 12)


def _scale(crop: U8, height: int) -> U8:
    width = max(round(crop.shape[1] * height / crop.shape[0]), 1)
    scaled: U8 = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return scaled


def _edge(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def _pad(picture: np.ndarray, margin: int) -> U8:
    padded = cv2.copyMakeBorder(picture.astype(np.uint8), *(margin,) * 4, borderType=cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8)


def _parse(output: str, count: int) -> list[Reading]:
    """Words of the table that the program prints, a page a picture; a page without words has an empty text."""
    words: list[list[tuple[str, float]]] = [[] for _ in range(count)]
    for row in csv.DictReader(io.StringIO(output), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        if text and row["level"] == "5":  # words
            words[int(row["page_num"]) - 1].append((text, float(row["conf"]) / 100))
    return [
        Reading(" ".join(text for text, _ in page), min(max(min(conf for _, conf in page), 0), 1)) if page else NOTHING
        for page in words
    ]
