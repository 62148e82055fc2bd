import re
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from textgen.catalogue import catalogue
from textgen.errors import UserError
from textgen.fonts import SCALE, Face, faces_of

ROOT = Path(__file__).parents[1] / "fonts"
CHARACTERS = frozenset("0123456789,.:k")
DIGITS = frozenset("0123456789")
FAMILIES = catalogue("fonts")
FILES = [path for family in FAMILIES.values() for path in family.paths]
OSWALD = FAMILIES["oswald"].paths[0]


def subset(path: Path, text: str, out: Path) -> Path:
    """The font at `path` with glyphs for `text` alone."""
    with TTFont(path) as font:
        subsetter = Subsetter(Options(layout_features=[]))
        subsetter.populate(text=text)
        subsetter.subset(font)
        font.save(out)
    return out


def built(out: Path, drawn: str, blank: str = "") -> Path:
    """A font of boxes 500 × 700 units for the characters `drawn`, and nothing for those of `blank`."""
    names = {ord(c): f"u{ord(c):04x}" for c in drawn + blank}
    order = [".notdef", *names.values()]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    glyphs = {}
    for name in order:
        pen = TTGlyphPen(None)
        if name in [names[ord(c)] for c in drawn]:
            for i, point in enumerate([(50, 0), (50, 700), (550, 700), (550, 0)]):
                (pen.lineTo if i else pen.moveTo)(point)
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(order, (600, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(out)
    return out


def height_of(mask: np.ndarray) -> float:
    """Rows that are at least half covered somewhere, in pixels of the crop."""
    return float((mask.max(1) >= 128).sum() / SCALE)


def test_the_catalogue_has_a_dozen_families_with_files_and_licences() -> None:
    assert len(FAMILIES) >= 12
    for family in FAMILIES.values():
        assert family.paths
        assert all(path.is_file() for path in family.paths), family.name
        assert (ROOT / family.about["licence_file"]).is_file(), family.name
        for key in ("name", "licence", "copyright", "source"):
            assert family.about[key], f"{family.name} does not say its {key}"
    assert len(set(FILES)) == len(FILES)


def test_every_font_file_is_in_the_catalogue() -> None:
    assert {p for p in ROOT.rglob("*") if p.suffix in (".ttf", ".otf")} == set(FILES)


def test_a_licence_belongs_to_its_family_and_reserves_no_name() -> None:
    """Files cut down or converted are modified, and the OFL forbids these a reserved name."""
    for family in FAMILIES.values():
        text = (ROOT / family.about["licence_file"]).read_text(encoding="utf-8")
        head, _, body = text.partition("This Font Software is licensed under")
        assert "SIL Open Font License" in body or "SIL OPEN FONT LICENSE" in body, family.name
        assert not re.search("reserved font name", head, re.IGNORECASE), family.name
        assert family.about["copyright"].split("(")[0].strip() in head, family.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_font_of_the_catalogue_covers_what_the_games_show(path: Path) -> None:
    face = Face(path, CHARACTERS)
    for character in sorted(CHARACTERS):
        fill, _ = face.string(character, face.pixels_per_em(12), 0, 0)
        assert fill.max() == 255, character


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_digits_differ_from_each_other(path: Path) -> None:
    face = Face(path, DIGITS)
    masks = [face.string(d, face.pixels_per_em(12), 0, 0)[0] for d in sorted(DIGITS)]
    assert len({(mask.shape, mask.tobytes()) for mask in masks}) == len(DIGITS)


def test_families_tags_files_and_folders_are_found(tmp_path: Path) -> None:
    tag = FAMILIES["oswald"].tags[0]
    tagged = {path for family in FAMILIES.values() if tag in family.tags for path in family.paths}
    assert {face.path for face in faces_of([tag], DIGITS)[0]} == tagged
    own = tmp_path / "Own Fonts"
    own.mkdir()
    (own / "One.TTF").write_bytes(OSWALD.read_bytes())
    (own / "notes.txt").write_text("no font")
    assert [face.path for face in faces_of([str(own)], DIGITS)[0]] == [own / "One.TTF"]
    assert [face.path for face in faces_of([str(own / "One.TTF")], DIGITS)[0]] == [own / "One.TTF"]


def test_a_weight_is_shared_by_the_files_of_its_item() -> None:
    faces, chances = faces_of({"oswald": 3, "bebas-neue": 1}, DIGITS)
    of_oswald = [face.path in FAMILIES["oswald"].paths for face in faces]
    assert chances.sum() == pytest.approx(1)
    assert chances[of_oswald].sum() == pytest.approx(0.75)
    assert len(set(chances[of_oswald])) == 1


@pytest.mark.parametrize(
    ("item", "word"), [("oswlad", "did you mean oswald?"), ("zzz", "bebas-neue"), ("./nowhere/", "nowhere")]
)
def test_an_unknown_font_is_named_with_what_there_is(item: str, word: str) -> None:
    with pytest.raises(UserError, match=re.escape(word)):
        faces_of([item], DIGITS)


def test_no_font_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fonts is empty"):
        faces_of([], DIGITS)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path} holds no file")):
        faces_of([f"{tmp_path}/"], DIGITS)


def test_a_font_that_lacks_a_glyph_is_refused_by_name_and_glyph(tmp_path: Path) -> None:
    path = subset(OSWALD, "012345678", tmp_path / "no9.ttf")
    Face(path, frozenset("012345678"))
    with pytest.raises(UserError, match=r"no9\.ttf has no glyph for 9 k,"):
        faces_of([str(path)], frozenset("0129k"))


def test_a_glyph_without_ink_is_lacking_but_a_space_is_not(tmp_path: Path) -> None:
    path = built(tmp_path / "blank.ttf", "01", blank="2 ")
    Face(path, frozenset("01 "))
    with pytest.raises(UserError, match=r"blank\.ttf has no glyph for 2,"):
        Face(path, frozenset("012"))


@pytest.mark.parametrize(
    "content",
    [b"", b"this is a text, not a font\n", b"\x00\x01\x00\x00", b"OTTO" + bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(99)]
    + [OSWALD.read_bytes()[: OSWALD.stat().st_size * part // 12] for part in (1, 3, 6)],
    ids=["empty", "text", "truetype-magic", "opentype-magic", "png", "twelfth", "quarter", "half"],
)
def test_a_file_that_is_no_whole_font_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ttf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        faces_of([str(path)], DIGITS)
    assert "\n" not in caught.value.summary


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_a_font_of_wrong_bytes_is_refused_by_name_or_drawn(tmp_path: Path, start: int) -> None:
    """Some wrong bytes show no sooner than in drawing."""
    refusals = []
    for seed in range(start, start + 10):
        rng = np.random.default_rng(seed)
        content = bytearray(OSWALD.read_bytes())
        for _ in range(8):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path = tmp_path / f"{seed}.ttf"  # a new name, as glyphs are cached by path
        path.write_bytes(content)
        try:
            face = Face(path, DIGITS)
            face.string("0123456789", face.pixels_per_em(10), 0, 1)
        except UserError as error:
            refusals.append((path.name, error.summary))
    assert refusals
    assert all(name in summary for name, summary in refusals)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.ttf"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
    with pytest.raises(UserError, match=r"huge\.ttf is larger"):
        Face(path, DIGITS)


@pytest.mark.parametrize("path", FILES[::3], ids=lambda path: path.stem)
@pytest.mark.parametrize("outline", [0, 0.5, 1.25])
def test_ink_is_cropped_tight(path: Path, outline: float) -> None:
    face = Face(path, CHARACTERS)
    for text in ("8", "10,438", "30:54", "14.7k", "."):
        fill, outer = face.string(text, face.pixels_per_em(9), 0.5, outline)
        ink = fill if outer is None else outer
        assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1])), text


@pytest.mark.parametrize("height", [7, 10, 15.5, 24])
@pytest.mark.parametrize("name", ["oswald", "teko", "bebas-neue", "rajdhani", "roboto-condensed", "antonio", "kalam"])
def test_digits_have_the_height_that_was_asked_for(name: str, height: float) -> None:
    for path in FAMILIES[name].paths:
        face = Face(path, DIGITS)
        fills = [face.string(digit, face.pixels_per_em(height), 0, 0)[0] for digit in "1247"]  # they end on the line
        assert max(height_of(fill) for fill in fills) == pytest.approx(height, abs=0.5)


def test_a_font_of_boxes_is_drawn_exactly(tmp_path: Path) -> None:
    face = Face(built(tmp_path / "boxes.ttf", "01"), frozenset("01"))
    size = face.pixels_per_em(7)
    assert size == 10
    fill, outer = face.string("01", size, 0, 0)
    assert outer is None
    assert fill.shape == (7 * SCALE, 11 * SCALE)  # two boxes of 5 with 1 between them
    assert set(np.unique(fill)) == {0, 255}
    wide, _ = face.string("01", size, 2, 0)
    assert wide.shape == (7 * SCALE, 13 * SCALE)
    fill, outer = face.string("01", size, 2, 1)
    assert outer is not None
    assert fill.shape == outer.shape
    assert outer.shape == pytest.approx((9 * SCALE, 15 * SCALE), abs=2)


@pytest.mark.parametrize("path", FILES[::4], ids=lambda path: path.stem)
def test_spacing_widens_by_as_much_between_letters(path: Path) -> None:
    face = Face(path, DIGITS)
    size = face.pixels_per_em(10)
    narrow, one, two = (face.string("2024", size, spacing, 0)[0] for spacing in (0, 1, 2))
    assert narrow.shape[0] == one.shape[0] == two.shape[0]
    assert one.shape[1] - narrow.shape[1] == two.shape[1] - one.shape[1] == 3 * SCALE


@pytest.mark.parametrize("path", FILES[::4], ids=lambda path: path.stem)
def test_an_outline_contains_the_fill_and_more(path: Path) -> None:
    face = Face(path, CHARACTERS)
    fill, outer = face.string("14.7k", face.pixels_per_em(10), 0, 1)
    assert outer is not None
    assert fill.shape == outer.shape
    assert (outer >= fill).all()
    assert (outer > 0).sum() > 1.1 * (fill > 0).sum()
    assert fill.max() == outer.max() == 255


def test_fill_is_the_same_with_and_without_outline() -> None:
    face = Face(OSWALD, DIGITS)
    alone, _ = face.string("5", face.pixels_per_em(12), 0, 0)
    fill, _ = face.string("5", face.pixels_per_em(12), 0, 1)
    rows, columns = np.argwhere(fill).T
    np.testing.assert_array_equal(fill[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], alone)


def test_a_text_without_ink_has_no_pixels() -> None:
    fill, outer = Face(OSWALD, frozenset(" 1")).string("  ", 10, 1, 1)
    assert fill.size == 0
    assert outer is None
