"""Reading of a folder of the user's own crops, for `--like`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES, open_picture
from textgen.dataset.imagefolder import find_labels_files, find_pictures
from textgen.dataset.labels_file import read_labels
from textgen.schema.game import MAX_CROP_SIDE, MIN_CROP_SIDE
from textgen.spec.values import OTHER

MAX_CROPS = 300  # read: more do not change the measurements
MAX_ASPECT_RATIO = 1.25  # of a crop relative to the common size; others show another part of the screen


@dataclass(frozen=True)
class CropFolder:
    """The user's crops: uint8 (H, W, 3) each, all of `size` (H, W), and notes for the user.

    `texts` are those of a labels file, by the number of the image. `blank_folders` hold pictures without text that are
    large enough to be backgrounds.
    """

    images: list[U8]
    size: tuple[int, int]
    blank_folders: list[Path]
    notes: list[str]
    texts: dict[int, str] = field(default_factory=dict)


def read_crop_folder(folder: Path, size: tuple[int, int] | None = None) -> CropFolder:
    """Read the pictures in `folder` and its subfolders, scaled to `size`, by default the most frequent size.

    Pictures in folders named `other`, and those with the text "other" or none in a labels file, count as crops without
    text.
    Raises `UserError` if there is no such folder or it holds no crops, for pictures that are damaged or have a side
    that no crop can have, and for a labels file that is wrong.
    """
    if not folder.is_dir():
        raise UserError(f"--like: there is no folder {folder} (current folder: {Path.cwd()})")
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    blank = [p for p in paths if OTHER in p.relative_to(folder).parts[:-1]]
    texts = _read_texts({folder, *(path.parent for path in paths)})
    labelled_blank = {path for path, text in texts.items() if text in ("", OTHER)}
    paths = sorted(set(paths) - set(blank) - labelled_blank)
    if not paths:
        contents = (
            "only crops without text" if blank or labelled_blank else f"no picture that ends in {' '.join(SUFFIXES)}"
        )
        raise UserError(f"--like: folder {folder} holds {contents}: put crops there that show the counter")
    paths = [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), MAX_CROPS))]
    images = [_read_crop(path) for path in paths]

    sizes = Counter((image.shape[0], image.shape[1]) for image in images)
    height, width = size or sizes.most_common(1)[0][0]
    kept = [image for image in images if _has_aspect(image, height, width)]
    kept_names = [path for path, image in zip(paths, images, strict=True) if _has_aspect(image, height, width)]
    if not kept:
        raise UserError(f"--like: no crop in {folder} has the aspect ratio of {height}×{width}: leave out --size")
    notes = []
    if labelled_blank:
        notes.append(
            f"{len(labelled_blank)} crops are labelled {OTHER}, or without a text, and were left out; in a folder named"
            f" {OTHER} they become backgrounds"
        )
    common = sizes.most_common(1)[0][0]
    if different := len(images) - sizes[common]:
        low, high = min(sizes), max(sizes)
        left_out = len(images) - len(kept)
        notes.append(
            f"{different} of {len(images)} crops are not {common[0]}x{common[1]} (sizes from {low[0]}x{low[1]} to "
            f"{high[0]}x{high[1]}): {different - left_out} were scaled, {left_out} with another aspect ratio were left "
            "out; the network takes one size, so cut all crops at the same place"
        )
    scaled = [np.asarray(_scale(image, height, width), np.uint8) for image in kept]
    shown = {number: texts[path] for number, path in enumerate(kept_names) if path in texts}
    return CropFolder(scaled, (height, width), _find_blank_folders(blank, (height, width), notes), notes, shown)


def _read_texts(folders: Iterable[Path]) -> dict[Path, str]:
    """The texts that labels files in `folders` give to pictures."""
    found: dict[Path, str] = {}
    for folder in folders:
        for table in find_labels_files(folder).values():
            lines = [line for line in read_labels(table) if line.text is not None]
            pictures = find_pictures(folder, table, lines)
            found |= {path: (line.text or "").strip() for path, line in zip(pictures, lines, strict=True)}
    return found


def _has_aspect(image: U8, height: int, width: int) -> bool:
    ratio = float(image.shape[1] / image.shape[0] * height / width)
    return 1 / MAX_ASPECT_RATIO < ratio < MAX_ASPECT_RATIO


def _scale(image: U8, height: int, width: int) -> cv2.typing.MatLike:
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _find_blank_folders(blank: Sequence[Path], size: tuple[int, int], notes: list[str]) -> list[Path]:
    """Find the folders of crops without text that can be backgrounds: all pictures are at least as large as `size`."""
    folders = []
    for folder in sorted({path.parent for path in blank}):
        shapes = [_read_crop(path).shape for path in blank if path.parent == folder][:MAX_CROPS]
        if all(shape[0] >= size[0] and shape[1] >= size[1] for shape in shapes):
            folders.append(folder)
        else:
            smaller = f"some of its pictures are smaller than {size[0]}x{size[1]}"
            notes.append(f"{folder} is not used as a background: {smaller}")
    return folders


def _read_crop(path: Path) -> U8:
    with open_picture(path, f"--like: {path}") as picture:
        height, width = picture.size
        if not (min(width, height) >= MIN_CROP_SIDE and max(width, height) <= MAX_CROP_SIDE):
            sides = f"{MIN_CROP_SIDE} to {MAX_CROP_SIDE} pixels a side"
            raise UserError(f"--like: {path} has {height}×{width} pixels, but a crop has {sides}: cut out the text")
        return picture.decode_rgb()
