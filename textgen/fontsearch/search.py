"""The search: letters of crops against the same letters of every font, by the correlation of their shapes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face, open_face
from textgen.common.array_types import F32
from textgen.common.errors import UserError
from textgen.fontsearch.candidates import Candidate
from textgen.fontsearch.letters import Letter, Line
from textgen.kernels.glyphs import SCALE

TALL, GRID = 20, (28, 34)  # pixels of a digit's height when shapes are compared, and of the grid around it
ALIKE = 0.93  # correlation from which on two letters are taken for the same
MAX_SHAPES = 40
BLURS = (0.45, 0.8)  # in pixels of the crop, that fonts are drawn with
MAX_SECONDS = 30.0


@dataclass(frozen=True)
class Shape:
    """The mean of `count` letters that look alike: float32 GRID. `character` is known if crops have labels."""

    image: F32
    count: int
    character: str | None = None


@dataclass(frozen=True)
class Match:
    """A font with its score, the mean correlation with the shapes, and the characters that fit each shape best."""

    candidate: Candidate
    face: Face
    score: float
    characters: str


def place_on_grid(fill: F32, top: float, bottom: float, left: float, right: float, height: float) -> F32:
    """A letter scaled so that `height` is TALL pixels, with the middle of its ink in the middle of the grid."""
    scale = TALL / height
    y, x = (top + bottom) / 2, (left + right) / 2
    to = np.array(
        [[scale, 0, (GRID[1] - 1) / 2 - scale * (x - 0.5)], [0, scale, (GRID[0] - 1) / 2 - scale * (y - 0.5)]],
        np.float64,
    )
    flags = cv2.INTER_LINEAR if scale > 0.6 else cv2.INTER_AREA
    return np.asarray(cv2.warpAffine(fill, to, GRID[::-1], flags=flags), np.float32)


def find_shapes(lines: Sequence[Line], texts: Mapping[int, str] | None = None) -> list[Shape]:
    """The different shapes of tall letters, those of most letters first; letters at the edge of a crop are left out.

    `texts` has the text of some crops by number: the letters of a crop with as many letters as its text are known.
    """
    height = float(np.median([letter.height for line in lines for letter in line.tall]))
    named: dict[str, tuple[F32, int]] = {}
    sums: list[F32] = []
    counts: list[int] = []
    for line in lines:
        known = _name_letters(line, (texts or {}).get(line.crop))
        for letter in line.tall:
            if letter.cut:
                continue
            image = _to_grid(letter, height)
            if character := known.get(id(letter)):
                total, count = named.get(character, (np.zeros(GRID, np.float32), 0))
                named[character] = (total + image, count + 1)
                continue
            alike = [_correlate(image, total) for total in sums]
            best = int(np.argmax(alike)) if alike else -1
            if best >= 0 and alike[best] >= ALIKE:
                sums[best], counts[best] = sums[best] + image, counts[best] + 1
            elif len(sums) < 4 * MAX_SHAPES:
                sums.append(image)
                counts.append(1)
    shapes = [_mean(total, count, character) for character, (total, count) in named.items()]
    if shapes:
        return sorted(shapes, key=lambda shape: -shape.count)
    shapes = [_mean(total, count) for total, count in zip(sums, counts, strict=True)]
    shapes.sort(key=lambda shape: -shape.count)
    most = shapes[0].count if shapes else 0
    return [shape for shape in shapes if shape.count >= min(2, most)][:MAX_SHAPES]


def _mean(total: F32, count: int, character: str | None = None) -> Shape:
    return Shape(np.asarray(total / count, np.float32), count, character)


def _name_letters(line: Line, text: str | None) -> dict[int, str]:
    visible = [character for character in text or "" if not character.isspace()]
    if len(visible) != len(line.letters):
        return {}
    tall = {id(letter) for letter in line.tall}
    return {id(a): c for a, c in zip(line.letters, visible, strict=True) if id(a) in tall and c.isalnum()}


def _to_grid(letter: Letter, height: float) -> F32:
    y, x = letter.y, letter.x
    padded = np.pad(letter.fill, 2)
    ends = letter.top - y + 2, letter.bottom - y + 2, letter.left - x + 2, letter.right - x + 2
    return place_on_grid(padded, *ends, height)


def search_fonts(
    shapes: Sequence[Shape], candidates: Iterable[Candidate], characters: frozenset[str], height: float
) -> list[Match]:
    """All fonts that can draw `characters`, best first. `height` is that of the letters in the crops, in pixels.

    Without known characters each shape counts as the one of `characters` that it resembles most. Fonts that cannot be
    read are left out, and those that MAX_SECONDS leave no time for.
    """
    wanted = "".join(sorted(character for character in characters if character.isalnum()))
    images = np.stack([_normalize(shape.image) for shape in shapes])  # (n, pixels)
    weights = np.sqrt([shape.count for shape in shapes])
    allowed = np.array([[shape.character in (None, c) for c in wanted] for shape in shapes])
    matches: list[Match] = []
    started = time.monotonic()
    for candidate in candidates:
        if time.monotonic() - started > MAX_SECONDS:
            break
        try:
            face = open_face(candidate.path, characters)
            glyphs = draw_shapes(face, wanted, height)
        except UserError:
            continue
        best: tuple[float, str] | None = None
        for images_of_font in glyphs:
            scores = np.where(allowed, images @ np.stack([_normalize(g) for g in images_of_font]).T, -1.0)
            chosen = scores.argmax(1)
            score = float((weights * scores.max(1)).sum() / weights.sum())
            if best is None or score > best[0]:
                best = score, "".join(wanted[k] for k in chosen)
        assert best is not None
        if all(abs(best[0] - match.score) > 1e-6 for match in matches):  # installed fonts may be the catalogue's
            matches.append(Match(candidate, face, *best))
    return sorted(matches, key=lambda match: -match.score)


def draw_shapes(face: Face, characters: str, height: float) -> list[list[F32]]:
    """The characters of a face on the grid, float32 GRID each, as crops of letters `height` pixels high show them.

    One list for each of BLURS.
    """
    drawn: list[list[F32]] = [[] for _ in BLURS]
    for character in characters:
        glyph = face.draw_glyph(character, face.pixels_per_em(height))
        fill = np.pad(glyph.fill, 3 * SCALE).astype(np.float32) / 255
        rows, columns = np.flatnonzero(fill.any(1)), np.flatnonzero(fill.any(0))
        ends = float(rows[0]), float(rows[-1] + 1), float(columns[0]), float(columns[-1] + 1)
        for images, blur in zip(drawn, BLURS, strict=True):
            soft = np.asarray(cv2.GaussianBlur(fill, (0, 0), blur * SCALE), np.float32)
            images.append(place_on_grid(soft, *ends, height * SCALE))
    return drawn


def name_letters(letters: Sequence[Letter], face: Face, characters: str, height: float) -> list[str]:
    """The one of `characters` that each letter resembles most in this face."""
    fonts = [np.stack([_normalize(glyph) for glyph in glyphs]) for glyphs in draw_shapes(face, characters, height)]
    names = []
    for letter in letters:
        image = _normalize(_to_grid(letter, height))
        names.append(characters[int(np.max([glyphs @ image for glyphs in fonts], 0).argmax())])
    return names


def _normalize(image: F32) -> NDArray[np.float32]:
    flat = image.ravel() - image.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6), np.float32)


def _correlate(one: F32, other: F32) -> float:
    return float(_normalize(one) @ _normalize(other))
