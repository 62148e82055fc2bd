"""`reader=tesseract`: the program tesseract, where it is installed, once for each batch of crops."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.label.readers import Reader, ReaderSettings, Reading, refuse_run

PROGRAM = "tesseract"
HEIGHT = 96  # pixels of a crop that is read
MARGIN = 24  # pixels around it
SETTINGS = "h96"  # raised with every change of what the program gets
LINE = "7"  # its page segmentation mode for one line of text


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
        self._program, self._threads = program, settings.threads
        self._characters = "".join(
            sorted(char for char in settings.spec.characters if char.isprintable() and char != " ")
        )
        ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        version = (ended.stdout + ended.stderr).split()[1:2]
        self.name = f"tesseract {' '.join(version)} {SETTINGS} {self._characters}"

    def read(self, crops: Sequence[U8]) -> list[Reading]:
        """Read crops, RGB uint8 (h, w, 3), as one job of the program."""
        if not crops:
            return []
        with tempfile.TemporaryDirectory(prefix="foldtext-") as folder:
            names = []
            for number, crop in enumerate(crops):
                name = str(Path(folder) / f"{number}.png")
                cv2.imwrite(name, prepare(crop))
                names.append(name)
            listing = Path(folder) / "crops.txt"
            listing.write_text("\n".join(names) + "\n", encoding="utf-8")
            output = self._run(str(listing))
        return _parse(output, len(crops))

    def _run(self, listing: str) -> str:
        command = [self._program, listing, "stdout", "--psm", LINE, "-c", f"tessedit_char_whitelist={self._characters}"]
        environment = {**os.environ, "OMP_THREAD_LIMIT": str(self._threads)}
        ended = subprocess.run(
            [*command, "tsv"], capture_output=True, text=True, encoding="utf-8", check=False, env=environment
        )
        if ended.returncode:
            problem = " ".join(ended.stderr.split())[-200:]
            raise UserError(
                f"tesseract ended with {ended.returncode}: {problem}; mend its installation, or take another reader"
            )
        return ended.stdout


def prepare(crop: U8) -> U8:
    """The grey picture, uint8 (h, w), that the program gets: enlarged, dark text on light, with a margin."""
    height, width = crop.shape[:2]
    across = max(round(width * HEIGHT / height), 1)
    scaled = cv2.resize(crop, (across, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY)
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(edge) < 128:
        grey = 255 - grey
    padded: U8 = cv2.copyMakeBorder(grey, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE).astype(np.uint8)
    return padded


def _parse(output: str, count: int) -> list[Reading]:
    """Words of the table that the program prints, a page a crop; a page without words has an empty text."""
    words: list[list[tuple[str, float]]] = [[] for _ in range(count)]
    for row in csv.DictReader(io.StringIO(output), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        if text and re.fullmatch(r"[0-9]+", row["page_num"] or "") and row["level"] == "5":
            words[int(row["page_num"]) - 1].append((text, float(row["conf"]) / 100))
    return [
        Reading(" ".join(text for text, _ in page), min(max(min(conf for _, conf in page), 0), 1))
        if page
        else Reading("", 0.5)
        for page in words
    ]
