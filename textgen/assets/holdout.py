"""Assets that training never sees: which fonts and backgrounds are held out for test sets of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from textgen.assets.backgrounds import Backgrounds
from textgen.assets.fonts import Face
from textgen.common.errors import UserError
from textgen.schema.split import Holdout


def held_out_faces(faces: Sequence[Face], holdout: Holdout, seed: int) -> frozenset[int]:
    """The numbers of the faces held out: whole families, for their weights look alike."""
    families = [_family(face) for face in faces]
    chosen = _chosen(dict.fromkeys(families), holdout.fonts, seed)
    if holdout.fonts and not chosen:
        raise UserError("split.holdout_fonts: one font family cannot be parted: give more fonts")
    return frozenset(number for number, family in enumerate(families) if family in chosen)


def held_out_canvases(backgrounds: Backgrounds, holdout: Holdout, seed: int) -> list[frozenset[int]]:
    """For each source the numbers of the canvases held out."""
    held = []
    for names in backgrounds.names():
        chosen = _chosen(names, holdout.backgrounds, seed)
        held.append(frozenset(number for number, name in enumerate(names) if name in chosen))
    if holdout.backgrounds and not any(held):
        raise UserError("split.holdout_backgrounds: no source has two pictures to be parted: give more")
    return held


def _family(face: Face) -> str:
    """Files of one folder and with one name before the last hyphen, as roboto-condensed-700.ttf has it, are one, and
    oswald-variable/ is one with the oswald/ beside it."""
    folder = str(face.path.parent).removesuffix("-variable")
    return f"{folder}/{face.path.stem.rpartition('-')[0] or face.path.stem}"


def _chosen(names: Iterable[str], share: float, seed: int) -> set[str]:
    """About `share` of the names, at least one but not all, whatever their order."""

    def rank(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}/{name.rpartition('/')[2]}".encode()).digest(), name

    ranked = sorted(set(names), key=rank)
    return set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)] if share else [])
