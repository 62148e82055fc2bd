import threading
from collections.abc import Iterable

import numpy as np
import pytest

from textgen.assets import glyph_atlas as atlas_module
from textgen.assets.fonts import load_faces
from textgen.assets.glyph_atlas import (
    MAX_HEIGHTS,
    MAX_KEYS,
    MAX_SLANTS,
    MAX_STROKES,
    GlyphAtlas,
    StyleLevels,
    build_style_levels,
)
from textgen.kernels.glyphs import FILL, FILL_H, INK_H, INK_W, LEFT, MASK_H, MASK_W, OUTER, SCALE, TOP
from textgen.schema.game import Outline, Text

ALPHABET = "\0 ,17k"
LEVELS = StyleLevels(np.float32([6, 9.5]), np.float32([1]), np.float32([0, 0.5, 1]), np.float32([0, 10]))
FACES, _ = load_faces(["oswald", "spectral"], frozenset(ALPHABET[1:]))
SHAPE = (len(FACES), 2, 3, 2, len(ALPHABET))
KEYS = np.flatnonzero(np.arange(np.prod(SHAPE)) % len(ALPHABET))  # all but those of code 0


def new_atlas() -> GlyphAtlas:
    return GlyphAtlas(FACES, LEVELS, ALPHABET)


def masks_of(atlas: GlyphAtlas, keys: Iterable[int]) -> dict[int, bytes]:
    """By key, its metrics but the offsets, and all its masks."""
    keys = np.array(list(keys), np.int64)
    rows, metrics, pixels = atlas.get_glyphs(keys)
    found = {}
    for key in keys.tolist():
        row = metrics[rows[key]]
        size = 16 * row[MASK_H] * row[MASK_W]
        described = row[[LEFT, TOP, INK_H, INK_W, FILL_H, MASK_H, MASK_W]].tobytes()
        found[key] = described + pixels[row[FILL] :][:size].tobytes() + pixels[row[OUTER] :][:size].tobytes()
    return found


def averaged(mask: np.ndarray, y: int, x: int, shape: tuple[int, int]) -> np.ndarray:
    """`mask` with its corner at quarter pixel (y, x), averaged over the squares of a pixel."""
    large = np.zeros((shape[0] * SCALE, shape[1] * SCALE))
    large[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return large.reshape(shape[0], SCALE, shape[1], SCALE).mean((1, 3))  # (4h, 4w) -> (h, 4, w, 4) -> (h, w)


def test_a_mask_is_the_glyph_averaged_at_each_of_sixteen_positions() -> None:
    rows, metrics, pixels = new_atlas().get_glyphs(KEYS)
    for key in KEYS[::3].tolist():
        face, height, stroke, slant, code = (int(i) for i in np.unravel_index(key, SHAPE))
        size, outline = FACES[face].pixels_per_em(float(LEVELS.heights[height])), float(LEVELS.strokes[stroke])
        glyph = FACES[face].draw_glyph(ALPHABET[code], size, outline, float(LEVELS.slants[slant]))
        row = metrics[rows[key]]
        assert tuple(row[[LEFT, TOP, INK_H, INK_W, FILL_H]]) == (
            glyph.left,
            glyph.top,
            *glyph.fill.shape,
            glyph.fill_height,
        )
        shape = (int(row[MASK_H]), int(row[MASK_W]))
        for offset, mask in ((row[FILL], glyph.fill), (row[OUTER], glyph.outer)):
            stored = pixels[offset:][: 16 * shape[0] * shape[1]].reshape(SCALE, SCALE, *shape)
            for y in range(SCALE):
                for x in range(SCALE):
                    np.testing.assert_allclose(stored[y, x], averaged(mask, y, x, shape), atol=0.5)


def test_glyphs_of_the_atlas_are_not_drawn_again_and_no_character_needs_none() -> None:
    atlas = new_atlas()
    first = atlas.get_glyphs(np.array([[KEYS[3], -1], [KEYS[1], KEYS[3]]]))
    assert (first.rows >= 0).sum() == 2
    rows = first.rows.copy()
    np.testing.assert_array_equal(atlas.get_glyphs(KEYS[[1, 3]]).rows, rows)
    assert (atlas.get_glyphs(np.full((3, 2), -1)).rows >= 0).sum() == 2


def test_an_atlas_that_is_emptied_gives_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = masks_of(new_atlas(), KEYS)
    monkeypatch.setattr(atlas_module, "MAX_BYTES", 20_000)
    atlas, emptied = new_atlas(), 0
    for keys in np.array_split(np.random.default_rng(0).permutation(np.repeat(KEYS, 2)), 30):
        before = atlas.get_glyphs(np.array([-1]))
        held = before.rows.copy(), before.metrics.copy()
        assert masks_of(atlas, keys) == {key: wanted[key] for key in keys.tolist()}
        if atlas.get_glyphs(np.array([-1])).rows is not before.rows:
            emptied += 1
            np.testing.assert_array_equal(before.rows, held[0], "a returned table does not change")
            np.testing.assert_array_equal(before.metrics, held[1])
    assert emptied > 3


def test_an_atlas_that_threads_share_gives_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = masks_of(new_atlas(), KEYS)
    monkeypatch.setattr(atlas_module, "MAX_BYTES", 60_000)
    atlas, wrong = new_atlas(), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            keys = rng.choice(KEYS, 12)
            if masks_of(atlas, keys) != {key: wanted[key] for key in keys.tolist()}:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("height", [(4, 4), (6, 7.5), (5.5, 60), (4, 256)])
@pytest.mark.parametrize("slant", [(0, 0), (-3, 3), (-45, 45)])
@pytest.mark.parametrize("width", [None, (1, 1), (0.5, 1), (0, 16)])
def test_levels_reach_from_end_to_end_and_are_few(
    height: tuple[float, float], slant: tuple[float, float], width: tuple[float, float] | None
) -> None:
    outline = Outline(width=width) if width else None
    levels = build_style_levels(Text(fonts=("oswald",), height=height, slant=slant, outline=outline), 3, 15)
    assert (levels.heights[0], levels.heights[-1]) == height
    assert (levels.slants[0], levels.slants[-1]) == slant
    assert levels.strokes[0] == 0
    if width:
        assert (levels.strokes[1], levels.strokes[-1]) == width
    else:
        assert len(levels.strokes) == 1
    for values, max_count in (
        (levels.heights, MAX_HEIGHTS),
        (levels.strokes[1:], MAX_STROKES),
        (levels.slants, MAX_SLANTS),
    ):
        assert len(values) <= max_count
        assert len(set(values.tolist())) == len(values)
        assert np.ptp(np.diff(values)) < 1e-4 if len(values) > 1 else True


def test_a_huge_alphabet_leaves_fewer_heights() -> None:
    text = Text(fonts=("oswald",), height=(4, 40), slant=(-20, 20), outline=Outline(width=(0.25, 3)))
    levels = build_style_levels(text, 60, 5000)
    assert len(levels.heights) < MAX_HEIGHTS
    assert 60 * 5000 * len(levels.heights) * len(levels.strokes) * len(levels.slants) <= MAX_KEYS
