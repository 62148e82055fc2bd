"""The crops that are labelled, in the order of time, and the folder for what is written about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES
from textgen.dataset.imagefolder import natural_order
from textgen.footage.index import INDEX, IndexRow, read_index

OF_CUT = "a folder that python -m textgen.cut has written"


@dataclass(frozen=True)
class Sequence:
    """Crops of one region.

    Attributes:
        folder: what the files of `rows` are relative to, and where the tables of labels are written.
        rows: the crops, in the order of frames.
        in_order: whether they are frames of footage, so that neighbours say something about each other.
    """

    folder: Path
    rows: tuple[IndexRow, ...]
    in_order: bool

    @property
    def files(self) -> list[Path]:
        return [self.folder / row.file for row in self.rows]


def open_sequence(crops: Path, region: str | None) -> Sequence:
    """The crops of `region` in the folder `crops`, or of its only region; without an index, all its pictures.

    Of a folder with several regions, the region's own folder within it is the one that tables are written to. Raises
    `UserError`.
    """
    if not crops.is_dir():
        raise UserError(f"crops={crops} is no folder: give {OF_CUT}, or one of pictures")
    if not (crops / INDEX).is_file():
        return _list_pictures(crops, region)
    rows = read_index(crops)
    names = sorted({row.region for row in rows})
    if not rows:
        raise UserError(f"{crops / INDEX} lists no crops: cut again")
    if region is None and len(names) > 1:
        raise UserError(f"{crops} holds the regions {', '.join(names)}: give one of them as region=…")
    if region is not None and region not in names:
        raise UserError(f"region={region}: {crops} holds the regions {', '.join(names)}; give one of them")
    chosen = sorted((row for row in rows if region in (None, row.region)), key=lambda row: row.frame)
    if len(names) == 1:
        return Sequence(crops, tuple(chosen), True)
    folder = crops / str(region)
    inside = tuple(row._replace(file=row.file.removeprefix(f"{region}/")) for row in chosen)
    return Sequence(folder, inside, True)


def _list_pictures(crops: Path, region: str | None) -> Sequence:
    if region is not None:
        raise UserError(f"region={region}: {crops} has no {INDEX}, and so no regions; leave region out")
    names = sorted((path.name for path in crops.iterdir() if path.suffix.lower() in SUFFIXES), key=natural_order)
    if not names:
        raise UserError(f"{crops} holds neither {INDEX} nor pictures: give {OF_CUT}, or one of pictures")
    return Sequence(crops, tuple(IndexRow(name, "", at, float(at)) for at, name in enumerate(names)), False)
