"""The choice of held-out assets: fonts and backgrounds that only test sets of their own contain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from textgen.assets.backgrounds import Backgrounds
from textgen.assets.fonts import Face
from textgen.common.errors import UserError
from textgen.schema.split import Holdout


def choose_held_out_faces(faces: Sequence[Face], holdout: Holdout, seed: int) -> frozenset[int]:
    """The numbers of the held-out faces: whole families, since the weights of a family look alike."""
    families = [_find_family(face) for face in faces]
    chosen = _choose(dict.fromkeys(families), holdout.fonts, seed)
    if holdout.fonts and not chosen:
        raise UserError("split.holdout_fonts: one font family cannot be split: give more fonts")
    return frozenset(number for number, family in enumerate(families) if family in chosen)


def choose_held_out_canvases(backgrounds: Backgrounds, holdout: Holdout, seed: int) -> list[frozenset[int]]:
    """By source, the numbers of the held-out canvases."""
    held_out = []
    for names in backgrounds.canvas_names():
        chosen = _choose(names, holdout.backgrounds, seed)
        held_out.append(frozenset(number for number, name in enumerate(names) if name in chosen))
    if holdout.backgrounds and not any(held_out):
        raise UserError("split.holdout_backgrounds: no source has two pictures to split: give more")
    return held_out


def _find_family(face: Face) -> str:
    """The folder of a font file, without "-variable", and its name up to the last hyphen: roboto-condensed-700.ttf."""
    folder = str(face.path.parent).removesuffix("-variable")
    return f"{folder}/{face.path.stem.rpartition('-')[0] or face.path.stem}"


def _choose(names: Iterable[str], share: float, seed: int) -> set[str]:
    """About `share` of the names, at least one but not all, independent of their order."""

    def rank(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}/{name.rpartition('/')[2]}".encode()).digest(), name

    ranked = sorted(set(names), key=rank)
    return set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)] if share else [])
