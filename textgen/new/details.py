"""What single letters tell about a text: its font, height, gradient, spacing, gaps, and what the edge cuts off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face
from textgen.common.array_types import F32, U8
from textgen.fontsearch.candidates import find_candidates
from textgen.fontsearch.letters import Letter, Line, Look, find_lines, measure_fill
from textgen.fontsearch.search import Match, Shape, find_shapes, name_letters, search_fonts
from textgen.kernels.glyphs import SCALE
from textgen.new.crop_folder import CropFolder
from textgen.new.proposal import Proposal
from textgen.spec.characters import is_blank

MIN_LETTERS = 6  # that are needed to tell anything
MIN_GRADIENT = 60.0  # in RGB, between top and bottom
MIN_CUT_SHARE = 0.1  # of the crops in which a letter reaches the edge
WINDOW = 0.35  # of the line's height: where letters are searched above and below it

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Details:
    """Ranges are the middle 90 % of the crops, in pixels; `gap` and `overhang` are in heights of the text.

    `gradient` has the colours of top and bottom (2, 3). `spacing` and `gap` compare with the best font.
    """

    lines: list[Line]
    shares: list[F32]
    shapes: list[Shape]
    matches: list[Match]
    height: tuple[float, float]
    left: tuple[float, float]
    top: tuple[float, float]
    width: float  # of the text, with what the edge cuts off
    overhang: float
    gradient: F64 | None
    spacing: float | None
    gap: float | None


def measure_details(
    crops: CropFolder,
    proposal: Proposal,
    characters: frozenset[str],
    fonts: Sequence[str],
    system_fonts: bool = True,
) -> Details | None:
    """Measure the letters of `crops`, or return None if too few can be told apart.

    `characters` are those of the spec. The font is searched among `fonts`, as in `text.fonts`, the catalogue and, with
    `system_fonts`, those installed.
    """
    shares = _measure_shares(crops.images, proposal)
    lines = find_lines(shares)
    letters = [letter for line in lines for letter in line.tall]
    shapes = find_shapes(lines, crops.texts) if len(letters) >= MIN_LETTERS else []
    if not shapes or not any(character.isalnum() for character in characters):
        return None
    heights = np.array([letter.height for letter in letters if not letter.cut] or [x.height for x in letters])
    height = float(np.median(heights))
    matches = search_fonts(shapes, find_candidates(fonts, system_fonts), characters, height)
    overhang = _measure_overhang(lines, height)
    lefts = np.array([line.tall[0].left for line in lines])
    rights = np.array([line.tall[-1].right for line in lines])
    spacing, gap = _measure_spacing(lines, matches[0], characters, height) if matches else (None, None)
    return Details(
        lines=lines,
        shares=shares,
        shapes=shapes,
        matches=matches,
        height=_range(heights),
        left=_range(lefts),
        top=_range(np.array([min(letter.top for letter in line.tall) for line in lines])),
        width=float(np.quantile(rights - lefts, 0.9)) + overhang * height,
        overhang=overhang,
        gradient=_measure_gradient(crops.images, shares, lines),
        spacing=spacing,
        gap=gap,
    )


def _measure_shares(images: Sequence[U8], proposal: Proposal) -> list[F32]:
    top = float(np.quantile([line.top for line in proposal.lines], 0.1))
    bottom = float(np.quantile([line.bottom for line in proposal.lines], 0.9))
    more = WINDOW * (bottom - top)  # a gradient or an outline may hide an end of the line
    ground = np.median([line.ground for line in proposal.lines], 0).astype(np.float32)
    edge = proposal.edge.color.astype(np.float32) if proposal.edge and proposal.edge.kind == "outline" else None
    look = Look(proposal.fill.astype(np.float32), ground, edge)
    shares = []
    for image in images:
        height, width = image.shape[:2]
        box = max(int(top - more), 0), 0, min(int(np.ceil(bottom + more)), height), width
        shares.append(measure_fill(image, look, box))
    return shares


def _range(values: F64) -> tuple[float, float]:
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)


def _measure_overhang(lines: Sequence[Line], height: float) -> float:
    """How much of the outer letters the edge of the crop cuts off, as a multiple of the height; 0 if hardly any."""
    cut = [letter for line in lines for letter in (line.tall[0], line.tall[-1]) if letter.cut]
    whole = [letter.width for line in lines for letter in line.tall if not letter.cut]
    if len(cut) < MIN_CUT_SHARE * len(lines) or not whole:
        return 0.0
    missing = float(np.median(whole)) - float(np.median([letter.width for letter in cut]))
    return float(np.clip(missing / height, 0.0, 0.4))


def _measure_gradient(images: Sequence[U8], shares: Sequence[F32], lines: Sequence[Line]) -> F64 | None:
    """The colours of the fill at its top and bottom (2, 3), if they differ."""
    ends = []
    for line in lines:
        top, bottom = min(x.top for x in line.tall), max(x.bottom for x in line.tall)
        rows, columns = np.nonzero(shares[line.crop] > 0.9)
        along = (rows + 0.5 - top) / max(bottom - top, 1.0)
        inside = (along > 0.05) & (along < 0.95)
        if inside.sum() < 20:
            continue
        slope = np.polyfit(along[inside], images[line.crop][rows[inside], columns[inside]].astype(float), 1)  # (2, 3)
        ends.append((slope[1], slope[0] + slope[1]))
    if not ends:
        return None
    colors = np.clip(np.median(np.array(ends), 0), 0, 255)
    return np.asarray(colors) if float(np.linalg.norm(colors[1] - colors[0])) > MIN_GRADIENT else None


def _measure_spacing(
    lines: Sequence[Line], match: Match, characters: frozenset[str], height: float
) -> tuple[float | None, float | None]:
    """The spacing between letters beyond that of the font, in pixels, and the gap around marks, in heights."""
    names = _name_letters(lines, match, characters, height)
    metrics = {c: _measure_glyph(match.face, c, characters, height) for c in characters if not is_blank(c)}
    marks = Counter(c for c in characters if not c.isalnum() and not is_blank(c))
    close, apart = [], []
    for line in lines:
        tall = [k for k, letter in enumerate(line.letters) if any(letter is other for other in line.tall)]
        for a, b in pairwise(tall):
            one, other = line.letters[a], line.letters[b]
            if one.cut or other.cut or b - a > 2:
                continue
            seen = (other.left + other.right) / 2 - (one.left + one.right) / 2
            (_, rest), (before, _) = metrics[names[id(one)]], metrics[names[id(other)]]
            if b - a == 1:
                close.append(seen - rest - before)
            elif len(marks) == 1:
                before_mark, after_mark = metrics[next(iter(marks))]
                apart.append(seen - rest - before - before_mark - after_mark)
    spacing = float(np.median(close)) if close else None
    if not apart:
        return spacing, None
    return spacing, float(np.median(apart) - 2 * (spacing or 0.0)) / 2 / height


def _name_letters(lines: Sequence[Line], match: Match, characters: frozenset[str], height: float) -> dict[int, str]:
    wanted = "".join(sorted(character for character in characters if character.isalnum()))
    letters: list[Letter] = [letter for line in lines for letter in line.tall]
    named = name_letters(letters, match.face, wanted, height)
    return {id(letter): name for letter, name in zip(letters, named, strict=True)}


def _measure_glyph(face: Face, character: str, characters: frozenset[str], height: float) -> tuple[float, float]:
    """The distances from the pen to the middle of the ink and from there to the next pen, in pixels."""
    size = face.pixels_per_em(height)
    glyph = face.draw_glyph(character, size)
    advance = float(face.advances[sorted(characters).index(character)]) * size
    middle = (glyph.left + glyph.fill.shape[1] / 2) / SCALE
    return middle, advance - middle
