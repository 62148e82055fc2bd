import itertools
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from font_builder import built
from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fontTools.ttLib.tables.DefaultTable import DefaultTable

from textgen.assets.catalogue import load_catalogue
from textgen.assets.fonts import INSTANCES, load_faces, open_face
from textgen.common.errors import UserError
from textgen.kernels.glyphs import SCALE

ROOT = Path(__file__).parents[3] / "fonts"
CHARACTERS = frozenset("0123456789,.:k")
DIGITS = frozenset("0123456789")
FAMILIES = load_catalogue("fonts")
FILES = [path for family in FAMILIES.values() for path in family.paths]
# Fonts of which FreeType's stroker leaves a few pixels of a character's fill without outline.
LEFT_UNCOVERED = {
    *("anton-400", "barlow-condensed-500", "barlow-condensed-600", "barlow-condensed-700", "caveat-brush-400"),
    *("kalam-700", "mansalva-400"),
}
OSWALD = FAMILIES["oswald"].paths[0]


def subset(path: Path, text: str, out: Path) -> Path:
    """The font at `path` with glyphs for `text` alone."""
    with TTFont(path) as font:
        subsetter = Subsetter(Options(layout_features=[]))
        subsetter.populate(text=text)
        subsetter.subset(font)
        font.save(out)
    return out


def height_of(mask: np.ndarray) -> float:
    """Rows that are at least half covered somewhere, in pixels of the crop."""
    return float((mask.max(1) >= 128).sum() / SCALE)


def test_the_catalogue_has_a_dozen_families_with_files_and_licences() -> None:
    assert len(FAMILIES) >= 12
    for family in FAMILIES.values():
        assert family.paths
        assert all(path.is_file() for path in family.paths), family.name
        assert (ROOT / family.metadata["licence_file"]).is_file(), family.name
        for key in ("name", "licence", "copyright", "source"):
            assert family.metadata[key], f"{family.name} does not say its {key}"
    assert len(set(FILES)) == len(FILES)


def test_every_font_file_is_in_the_catalogue() -> None:
    assert {p for p in ROOT.rglob("*") if p.suffix in (".ttf", ".otf")} == set(FILES)


def test_a_licence_belongs_to_its_family_and_reserves_no_name() -> None:
    """Files cut down or converted are modified: the OFL forbids these a reserved name, and Bitstream its own."""
    others = {"Apache-2.0": "Apache License", "Bitstream-Vera": "Bitstream Vera Fonts Copyright"}
    for family in FAMILIES.values():
        text = (ROOT / family.metadata["licence_file"]).read_text(encoding="utf-8")
        if family.metadata["licence"] in others:
            assert others[family.metadata["licence"]] in text, family.name
            assert family.metadata["copyright"].split(". ")[0].strip() in text.replace("\n", " "), family.name
            assert "vera" not in family.metadata["name"].lower()
            continue
        assert family.metadata["licence"] == "OFL-1.1"
        head, _, body = text.partition("This Font Software is licensed under")
        assert "SIL Open Font License" in body or "SIL OPEN FONT LICENSE" in body, family.name
        assert not re.search("reserved font name", head, re.IGNORECASE), family.name
        assert family.metadata["copyright"].split("(")[0].strip() in head, family.name


def covered(path: Path, characters: frozenset[str]) -> list[np.ndarray]:
    """The fill of every character at a digit's height of 12."""
    face = open_face(path, characters)
    return [face.draw_glyph(character, face.pixels_per_em(12)).fill for character in sorted(characters)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_font_of_the_catalogue_covers_what_the_games_show_and_digits_differ(path: Path) -> None:
    assert all(mask.max() == 255 for mask in covered(path, CHARACTERS))
    assert len({(mask.shape, mask.tobytes()) for mask in covered(path, DIGITS)}) == len(DIGITS)


def test_families_tags_files_and_folders_are_found(tmp_path: Path) -> None:
    tag = FAMILIES["oswald"].tags[0]
    tagged = {path for family in FAMILIES.values() if tag in family.tags for path in family.paths}
    assert {face.path for face in load_faces([tag], DIGITS)[0]} == tagged
    own = tmp_path / "Own Fonts"
    own.mkdir()
    (own / "One.TTF").write_bytes(OSWALD.read_bytes())
    (own / "notes.txt").write_text("no font")
    assert [face.path for face in load_faces([str(own)], DIGITS)[0]] == [own / "One.TTF"]
    assert [face.path for face in load_faces([str(own / "One.TTF")], DIGITS)[0]] == [own / "One.TTF"]


def test_a_weight_is_shared_by_the_files_of_its_item() -> None:
    faces, chances = load_faces({"oswald": 3, "bebas-neue": 1}, DIGITS)
    of_oswald = [face.path in FAMILIES["oswald"].paths for face in faces]
    assert chances.sum() == pytest.approx(1)
    assert chances[of_oswald].sum() == pytest.approx(0.75)
    assert len(set(chances[of_oswald])) == 1


@pytest.mark.parametrize(
    ("item", "word"), [("oswlad", "did you mean oswald?"), ("zzz", "bebas-neue"), ("./nowhere/", "nowhere")]
)
def test_an_unknown_font_is_named_with_a_hint(item: str, word: str) -> None:
    with pytest.raises(UserError, match=re.escape(word)):
        load_faces([item], DIGITS)


def test_no_font_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fonts is empty"):
        load_faces([], DIGITS)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path} holds no file")):
        load_faces([f"{tmp_path}/"], DIGITS)


def test_a_font_that_lacks_a_glyph_is_refused_by_name_and_glyph(tmp_path: Path) -> None:
    path = subset(OSWALD, "012345678", tmp_path / "no9.ttf")
    open_face(path, frozenset("012345678"))
    with pytest.raises(UserError, match=r"no9\.ttf has no glyph for 9 k,"):
        load_faces([str(path)], frozenset("0129k"))


def test_a_font_that_lacks_a_glyph_is_told_with_families_that_have_it() -> None:
    with pytest.raises(UserError) as caught:
        load_faces(["oswald"], frozenset("1↑"))
    families = re.search(r"which the spec needs: use another; (.*) of the catalogue can", caught.value.summary)
    assert "↑ (U+2191)" in caught.value.summary
    assert families
    for name in families[1].replace(", …", "").split(", "):
        load_faces([name], frozenset("1↑"))
    with pytest.raises(UserError, match="no family of the catalogue has them all"):
        load_faces(["oswald"], frozenset("1\U0001f3c6"))


def test_a_message_names_a_few_of_many_missing_characters() -> None:
    with pytest.raises(UserError, match="and 90 more, which"):
        load_faces(["oswald"], frozenset(map(chr, range(0x4E00, 0x4E64))))


SPACES = sorted(set("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"))


@pytest.mark.parametrize("family", ["oswald", "rajdhani", "spectral"])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{ord(space):04X}")
def test_a_space_is_never_drawn_and_moves_the_next_letter(family: str, space: str) -> None:
    """Also where the font lacks it: its box for missing glyphs would be drawn."""
    face = load_faces([family], frozenset({"0", " ", space}))[0][0]
    assert not face.draw_glyph(space, 40).fill.size
    plain, other = face.advances[0], face.advances[2]
    assert 0 < other <= 1.05
    if space == "\u3000":
        assert other > plain
    if space == "\u00a0":
        assert other == plain


def test_a_space_with_ink_in_its_glyph_is_not_drawn(tmp_path: Path) -> None:
    face = open_face(built(tmp_path / "boxes.ttf", "01 \u00a0"), frozenset("01 \u00a0"))
    assert not face.draw_glyph("\u00a0", 40).fill.size
    assert not face.draw_glyph(" ", 40).fill.size


def test_a_space_that_no_font_can_replace_is_refused_by_code_point(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no glyph for U\+1680 OGHAM SPACE MARK,"):
        load_faces(["oswald"], frozenset("01\u1680"))
    with pytest.raises(UserError, match=r"no glyph for U\+2003 EM SPACE,"):  # nor has it a space to replace it by
        open_face(built(tmp_path / "boxes.ttf", "01"), frozenset("01\u2003"))


def test_a_character_that_the_font_maps_to_its_box_for_missing_glyphs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "box.ttf"
    with TTFont(OSWALD) as font:
        for table in font["cmap"].tables:
            table.cmap[ord("7")] = ".notdef"
        font.save(path)
    with pytest.raises(UserError, match="no glyph for 7,"):
        open_face(path, DIGITS)


# Character maps without Unicode, or in a rare form of it: platform, encoding, format of the table, offset of its codes.
ENCODINGS = {
    "symbol": (3, 0, 4, 0xF000),
    "symbol-low": (3, 0, 4, 0),
    "mac": (1, 0, 0, 0),
    "mac-trimmed": (1, 0, 6, 0),
    "unicode-trimmed": (3, 10, 10, 0),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("source", ["oswald", "oswald-variable"])
def test_a_font_without_a_unicode_map_draws_what_it_draws_with_one(tmp_path: Path, encoding: str, source: str) -> None:
    platform, number, kind, base = ENCODINGS[encoding]
    original, path = FAMILIES[source].paths[0], tmp_path / f"{encoding}.ttf"
    with TTFont(original) as font:
        table = CmapSubtable.newSubtable(kind)
        table.platformID, table.platEncID, table.language = platform, number, 0
        table.cmap = {base + code: name for code, name in font.getBestCmap().items() if 32 <= code < 127}
        if kind == 10:  # which fontTools cannot write
            numbers = [font.getGlyphID(table.cmap[code]) if code in table.cmap else 0 for code in range(32, 127)]
            table.data = struct.pack(">HHIIII95H", 10, 0, 20 + 2 * 95, 0, 32, 95, *numbers)
        font["cmap"].tables = [table]
        font.save(path)
    axes = {"wght": (300, 600)} if "variable" in source else None
    characters = frozenset("0123456789k: ")
    for one, other in zip(
        load_faces([str(path)], characters, axes)[0], load_faces([str(original)], characters, axes)[0], strict=True
    ):
        np.testing.assert_array_equal(one.advances, other.advances)
        np.testing.assert_array_equal(one.kerning, other.kerning)
        for character in characters:
            np.testing.assert_array_equal(
                one.draw_glyph(character, 30, 1).outer, other.draw_glyph(character, 30, 1).outer
            )


@pytest.mark.parametrize(
    ("table", "how"),
    [("sbix", "colour pictures"), ("CBDT", "colour pictures"), ("SVG ", "colour"), ("EBDT", "bitmaps")],
)
def test_a_font_without_outlines_is_refused_by_what_it_has(tmp_path: Path, table: str, how: str) -> None:
    path = built(tmp_path / "emoji.ttf", "", blank="012")
    with TTFont(path) as font:
        font.tables[table] = DefaultTable(table)
        font.tables[table].data = bytes(8)
        font.save(path)
    with pytest.raises(UserError, match=f"draws 0 1 only as {how}.*: use a font with outlines"):
        open_face(path, frozenset("01"))


@pytest.mark.parametrize(("magic", "what"), [(b"wOFF", "WOFF"), (b"wOF2", "WOFF2"), (b"ttcf", "a collection of fonts")])
def test_another_kind_of_font_file_is_named(tmp_path: Path, magic: bytes, what: str) -> None:
    path = tmp_path / "x.ttf"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(UserError, match=re.escape(what)):
        open_face(path, DIGITS)


def test_features_draw_other_glyphs_where_a_font_has_them() -> None:
    families = ["alegreya-sans", "oswald"]
    plain, numbers = load_faces(families, DIGITS)[0], load_faces(families, DIGITS, features=("lnum", "tnum"))[0]
    assert [face.path for face in numbers] == [face.path for face in plain]
    first, last = plain[0], plain[-1]  # one of each family
    assert len(set(first.advances.tolist())) > 1
    assert len(set(numbers[0].advances.tolist())) == 1
    np.testing.assert_array_equal(numbers[-1].advances, last.advances)
    np.testing.assert_array_equal(numbers[-1].draw_glyph("0", 40).fill, last.draw_glyph("0", 40).fill)


def font_with_features(path: Path, code: str) -> Path:
    with TTFont(OSWALD) as font:
        addOpenTypeFeaturesFromString(font, code, tables=["GSUB"])
        font.save(path)
    return path


def test_a_feature_replaces_the_glyph_of_one_character(tmp_path: Path) -> None:
    path = font_with_features(tmp_path / "slashed.ttf", "feature zero { sub zero by Oslash; } zero;")
    face, original = load_faces([str(path)], DIGITS, features=("zero",))[0][0], open_face(OSWALD, frozenset("1Ø"))
    np.testing.assert_array_equal(face.draw_glyph("0", 40).fill, original.draw_glyph("Ø", 40).fill)
    np.testing.assert_array_equal(face.draw_glyph("1", 40).fill, original.draw_glyph("1", 40).fill)
    assert face.advances[0] == original.advances[1]


def test_a_feature_that_draws_one_character_as_several_glyphs_is_refused(tmp_path: Path) -> None:
    path = font_with_features(tmp_path / "two.ttf", "feature ss01 { sub zero by one two; } ss01;")
    with pytest.raises(UserError, match="ss01 draws '0' as several glyphs"):
        load_faces([str(path)], DIGITS, features=("ss01",))


def test_a_feature_that_no_font_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="no font of this game has zero; they have ccmp, frac, liga, locl"):
        load_faces(["oswald"], DIGITS, features=("zero",))
    with pytest.raises(UserError, match="no font of this game has zero; they have none"):
        load_faces(["rajdhani"], DIGITS, features=("zero",))


def test_a_glyph_without_ink_is_missing_but_a_space_is_not(tmp_path: Path) -> None:
    path = built(tmp_path / "blank.ttf", "01", blank="2 ")
    open_face(path, frozenset("01 "))
    with pytest.raises(UserError, match=r"blank\.ttf has no glyph for 2,"):
        open_face(path, frozenset("012"))


@pytest.mark.parametrize(
    "content",
    [b"", b"this is a text, not a font\n", b"\x00\x01\x00\x00", b"OTTO" + bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(99)]
    + [OSWALD.read_bytes()[: OSWALD.stat().st_size * part // 12] for part in (1, 3, 6)],
    ids=["empty", "text", "truetype-magic", "opentype-magic", "png", "twelfth", "quarter", "half"],
)
def test_a_file_that_is_no_complete_font_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ttf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        load_faces([str(path)], DIGITS)
    assert "\n" not in caught.value.summary


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_a_font_of_wrong_bytes_is_refused_by_name_or_drawn(tmp_path: Path, start: int) -> None:
    """Some wrong bytes are detected only in drawing."""
    refusals = []
    for seed in range(start, start + 10):
        rng = np.random.default_rng(seed)
        content = bytearray(OSWALD.read_bytes())
        for _ in range(8):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path = tmp_path / f"{seed}.ttf"  # a new name, since glyphs are cached by path
        path.write_bytes(content)
        try:
            face = open_face(path, DIGITS)
            for digit in sorted(DIGITS):
                face.draw_glyph(digit, face.pixels_per_em(10), 1)
        except UserError as error:
            refusals.append((path.name, error.summary))
    assert refusals
    assert all(name in summary for name, summary in refusals)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.ttf"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no disk space
    with pytest.raises(UserError, match=r"huge\.ttf is larger"):
        open_face(path, DIGITS)


@pytest.mark.parametrize("path", FILES[::4], ids=lambda path: path.stem)
@pytest.mark.parametrize(("outline", "slant"), [(0, 0), (0.5, 0), (1.25, 10), (0, -15)])
def test_ink_is_cropped_tight(path: Path, outline: float, slant: float) -> None:
    face = open_face(path, CHARACTERS)
    for character in sorted(CHARACTERS):
        ink = face.draw_glyph(character, face.pixels_per_em(9), outline, slant).outer
        assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1])), character


@pytest.mark.parametrize("height", [7, 10, 15.5, 24])
@pytest.mark.parametrize("name", ["oswald", "teko", "bebas-neue", "rajdhani", "roboto-condensed", "antonio", "kalam"])
def test_digits_have_the_height_that_was_asked_for(name: str, height: float) -> None:
    for path in FAMILIES[name].paths:
        face = open_face(path, DIGITS)
        glyphs = [face.draw_glyph(digit, face.pixels_per_em(height)) for digit in "1247"]  # they end on the baseline
        assert max(height_of(glyph.fill) for glyph in glyphs) == pytest.approx(height, abs=0.5)


def test_a_font_of_boxes_is_drawn_exactly(tmp_path: Path) -> None:
    face = open_face(built(tmp_path / "boxes.ttf", "01"), frozenset("01"))
    size = face.pixels_per_em(7)
    assert size == 10
    np.testing.assert_allclose(face.advances * size, 6)
    assert not face.kerning.any()
    glyph = face.draw_glyph("0", size)
    assert glyph.fill.shape == (7 * SCALE, 5 * SCALE)
    assert set(np.unique(glyph.fill)) == {255}
    assert (glyph.left, glyph.top, glyph.fill_height) == (2, -7 * SCALE, 7 * SCALE)  # 50 units are half a pixel
    np.testing.assert_array_equal(glyph.fill, glyph.outer)
    outlined = face.draw_glyph("0", size, 1)
    assert outlined.fill.shape == outlined.outer.shape == (9 * SCALE, 7 * SCALE)
    np.testing.assert_array_equal(outlined.fill[SCALE:-SCALE, SCALE:-SCALE], glyph.fill)
    assert outlined.fill.sum() == glyph.fill.sum()
    assert (outlined.left, outlined.top, outlined.fill_height) == (2 - SCALE, -8 * SCALE, 7 * SCALE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_outline_contains_the_fill_and_more_and_grows_with_its_width(path: Path) -> None:
    face = open_face(path, CHARACTERS)
    for character in sorted(CHARACTERS):
        glyphs = [face.draw_glyph(character, face.pixels_per_em(10), width) for width in (0, 0.5, 1, 1.5)]
        for glyph in glyphs:
            assert glyph.fill.shape == glyph.outer.shape
            if path.stem in LEFT_UNCOVERED:
                assert (glyph.outer >= glyph.fill).mean() > 0.98
            else:
                assert (glyph.outer >= glyph.fill).all()
        rows, columns = (np.flatnonzero(glyphs[2].fill.any(axis)) for axis in (1, 0))
        alone = glyphs[2].fill[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.testing.assert_array_equal(alone, glyphs[0].fill, "the fill is that without outline")
        ink = [int((glyph.outer > 0).sum()) for glyph in glyphs]
        assert all(wide > 1.1 * narrow for narrow, wide in itertools.pairwise(ink)), ink


@pytest.mark.parametrize("angle", [-30, -8, 5, 12, 45])
def test_a_slant_shears_to_the_right_about_the_baseline(tmp_path: Path, angle: float) -> None:
    face = open_face(built(tmp_path / "boxes.ttf", "01"), frozenset("01"))
    upright, slanted = (face.draw_glyph("0", face.pixels_per_em(14), 0, slant) for slant in (0, angle))
    assert slanted.fill.shape[0] == upright.fill.shape[0]
    assert slanted.top == upright.top
    weights = slanted.fill.astype(float)
    center = slanted.left + (weights * (np.arange(weights.shape[1]) + 0.5)).sum(1) / weights.sum(1)
    above = -(slanted.top + np.arange(len(weights)))  # the baseline, by row
    moved = center - (upright.left + upright.fill.shape[1] / 2)
    np.testing.assert_allclose(moved, math.tan(math.radians(angle)) * above, atol=0.6)  # quarter pixels
    np.testing.assert_allclose(weights.sum(1), 255 * upright.fill.shape[1], rtol=0.03)


def test_a_slant_cuts_nothing_off_a_letter_with_an_outline() -> None:
    face = open_face(OSWALD, CHARACTERS)
    for character in sorted(CHARACTERS):  # the comma reaches below the baseline
        upright, slanted = (face.draw_glyph(character, 40, 1, slant) for slant in (0, 20))
        for one, other in ((upright.fill, slanted.fill), (upright.outer, slanted.outer)):
            assert float(other.sum()) == pytest.approx(float(one.sum()), rel=0.01), character


def test_a_space_has_a_width_and_no_pixels() -> None:
    face = open_face(OSWALD, frozenset(" 1"))
    assert face.advances[0] > 0
    glyph = face.draw_glyph(" ", 10, 1, 5)
    assert glyph.fill.size == glyph.outer.size == glyph.fill_height == 0


# Advances and kerning, which HarfBuzz reads, against the font's tables.


def gpos_kerning(font: TTFont, first: str, second: str) -> float:
    """The kerning of two glyphs in the font's GPOS table, in font units."""
    gpos = font["GPOS"].table
    features = [record.Feature for record in gpos.FeatureList.FeatureRecord if record.FeatureTag == "kern"]
    lookups = {number for feature in features for number in feature.LookupListIndex}
    total = 0.0
    for lookup in (gpos.LookupList.Lookup[i] for i in sorted(lookups)):
        for table in lookup.SubTable:
            sub = table.ExtSubTable if lookup.LookupType == 9 else table
            if first not in sub.Coverage.glyphs:
                continue
            if sub.Format == 1:
                records = sub.PairSet[sub.Coverage.glyphs.index(first)].PairValueRecord
                value = next((record.Value1 for record in records if record.SecondGlyph == second), None)
                if value is None:
                    continue
            else:
                one, two = sub.ClassDef1.classDefs.get(first, 0), sub.ClassDef2.classDefs.get(second, 0)
                value = sub.Class1Record[one].Class2Record[two].Value1
            total += getattr(value, "XAdvance", 0) or 0
            break
    return total


@pytest.mark.parametrize("name", ["oswald", "cinzel", "philosopher"])
def test_advances_and_kerning_are_those_of_the_tables(name: str) -> None:
    path, characters = FAMILIES[name].paths[0], sorted("AVTo0147.,:k ")
    face = open_face(path, frozenset(characters))
    with TTFont(path) as font:
        units, names, widths = font["head"].unitsPerEm, font.getBestCmap(), font["hmtx"]
        for i, first in enumerate(characters):
            assert face.advances[i] * units == pytest.approx(widths[names[ord(first)]][0], abs=0.01)
            for j, second in enumerate(characters):
                expected = gpos_kerning(font, names[ord(first)], names[ord(second)])
                assert face.kerning[i, j] * units == pytest.approx(expected, abs=0.01), first + second
    assert face.kerning[characters.index("A"), characters.index("V")] < -0.03


# Variable fonts.

VARIABLE = {"oswald-variable": (200, 700), "teko-variable": (300, 700), "archivo-variable": (100, 900)}


@pytest.mark.parametrize("name", VARIABLE)
def test_stems_grow_along_the_axis_of_weight(name: str) -> None:
    faces, chances = load_faces([name], DIGITS, {"wght": (0, 1000)})
    weights = [dict(face.location)["wght"] for face in faces]
    assert len(faces) == INSTANCES
    np.testing.assert_allclose(weights, np.linspace(*VARIABLE[name], INSTANCES))
    np.testing.assert_allclose(chances, 1 / INSTANCES)
    ink = [np.mean(face.draw_glyph("1", face.pixels_per_em(20)).fill.sum(1)) for face in faces]
    assert all(bold > 1.03 * light for light, bold in itertools.pairwise(ink)), ink
    assert [face.name for face in faces] == [
        " ".join([name, *(f"{axis}={value:g}" for axis, value in face.location)]) for face in faces
    ]
    assert len({face.name for face in faces}) == INSTANCES


def test_two_axes_are_not_correlated() -> None:
    faces, _ = load_faces(["archivo-variable"], DIGITS, {"wght": (300, 700), "wdth": (62, 125)})
    weights, widths = np.array([[dict(face.location)[axis] for axis in ("wght", "wdth")] for face in faces]).T
    assert len(set(widths)) == INSTANCES
    assert abs(np.corrcoef(weights, widths)[0, 1]) < 0.8
    assert weights.min() == 300
    assert weights.max() == 700
    assert widths.min() >= 62
    assert widths.max() <= 125
    advances = [float(face.advances.mean()) / face.pixels_per_em(1) for face in faces]
    narrowest, widest = np.argmin(widths), np.argmax(widths)
    assert advances[narrowest] < 0.8 * advances[widest], "HarfBuzz has the advances of the instance"


def test_a_font_without_the_axis_is_one_face_beside_a_variable_one() -> None:
    faces, chances = load_faces({"bebas-neue": 1, "oswald-variable": 3}, DIGITS, {"wght": (400, 500)})
    assert [bool(face.location) for face in faces] == [False] + [True] * INSTANCES
    np.testing.assert_allclose(chances, [0.25] + [0.125] * INSTANCES)


@pytest.mark.parametrize("fonts", [["oswald"], ["oswald-variable", "bebas-neue"]])
def test_an_axis_that_no_font_has_is_refused(fonts: list[str]) -> None:
    with pytest.raises(UserError, match=r"game\.text\.axes: no font .* varies along wdth"):
        load_faces(fonts, DIGITS, {"wdth": (50, 100)})
