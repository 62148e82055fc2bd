"""The preview: its page is complete, shows every text literally and fetches nothing; files are written as a whole."""

import base64
import io
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Config, Ended, Run, changed, flat_game, load
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import textgen.preview.contact_sheet
import textgen.preview.main
import textgen.preview.samples
from textgen.assets.holdout import choose_held_out_faces
from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.kernels import tables
from textgen.lint.report import Report
from textgen.preview.contact_sheet import _fit_title, draw_contact_sheet
from textgen.preview.crop_rows import EVEN_ROWS, group_by_class
from textgen.preview.crop_strips import CropStrips, encode_strip
from textgen.preview.main import output_paths
from textgen.preview.page import render_page
from textgen.preview.samples import PageData, collect_page_data
from textgen.render.renderer import Renderer
from textgen.schema.augment import Augment
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from textgen.schema.split import Holdout

VOID = {"meta", "link", "br", "input"}


class ParsedPage(HTMLParser):
    """The elements of a page with their attributes, and its visible texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of every such element that has all of `wanted`, a class among its classes."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag
            and all(value in attributes.get(key.rstrip("_"), "").split() for key, value in wanted.items())
        ]


def define(config: Config, holdout: Holdout | None = None) -> DatasetDefinition:
    stream = validate(Augment, load("augment", "light"), "augment")
    return DatasetDefinition(Game.from_config(config), stream, 0, holdout or Holdout())


def collect(definition: DatasetDefinition, split: str = "train", each: int = 3) -> PageData:
    return collect_page_data(
        definition, Renderer.from_definition(definition), split, each, 3, "python -m textgen.preview", "game: {}"
    )


@pytest.fixture(scope="module")
def data() -> PageData:
    return collect(define(load("game", "sot_coin"), Holdout(fonts=0.2, backgrounds=0.2)))


@pytest.fixture(scope="module")
def page(data: PageData) -> ParsedPage:
    return ParsedPage(render_page(data))


def strips(text: str) -> dict[str, U8]:
    """The strips of a page by their CSS class."""
    found = re.findall(r'\.(s\d+) \{ --l: (\d+); background-image: url\("data:image/png;base64,([^"]+)"\)', text)
    pictures = {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for name, _, data in found}
    for name, count, _ in found:
        assert pictures[name].shape[1] % int(count) == 0
    return pictures


def test_every_crop_on_the_page_is_the_renderers(data: PageData) -> None:
    text = render_page(data)
    pictures, renderer, (height, width) = strips(text), data.renderer, data.definition.game.size
    shown = 0
    for attributes in ParsedPage(text).all("i"):
        where = re.search(r"(train|test_fonts|test_backgrounds) (\d+)(, try \d+)?$", attributes["title"])
        assert where
        at = int(attributes["style"].removeprefix("--i:")) * (width + 2) + 1
        picture = pictures[attributes["class"]][:, at : at + width]
        assert picture.shape == (height, width, 3)
        if shown < 40:
            drawn = [renderer.render(where[1], [int(where[2])]), renderer.first_rejects(where[1], [int(where[2])])]
            assert any(np.array_equal(picture, image) for crops in drawn for image in crops.images)
        shown += 1
    assert shown > 200


def test_a_strip_repeats_the_outer_columns() -> None:
    crops = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3) + 20 * n for n in range(3)]
    line = np.asarray(Image.open(io.BytesIO(encode_strip(crops))))
    assert line.shape == (2, 12, 3)
    for n, crop in enumerate(crops):
        assert np.array_equal(line[:, 4 * n : 4 * n + 4], crop[:, [0, 0, 1, 1]])


def test_the_page_fetches_nothing_and_says_what_it_shows(data: PageData, page: ParsedPage) -> None:
    text = render_page(data)
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"""url\((?!"data:)|@import|\ssrc=""", text)
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    sections = {element["id"] for element in page.all("section")}
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in sections}
    assert sections == {"about", "classes", "fonts", "backgrounds", "style", "contrast", "refused"}  # no lint was run
    for kind in ("div", "span", "svg"):
        for element in page.all(kind, role="img"):
            assert element["aria-label"].strip()
    assert len(page.all("svg")) == 2
    for name in data.renderer.classes:
        assert any(row["data-name"] == name for row in page.all("div", class_="row"))
    assert render_page(data) == text


def test_held_out_assets_are_marked(data: PageData, page: ParsedPage) -> None:
    renderer, holdout = data.renderer, data.definition.holdout
    rows = {row["data-name"] for row in page.all("div", class_="row")}
    held = choose_held_out_faces(renderer.faces, holdout, 0)
    assert 0 < len(held) < len(renderer.faces)
    for number, face in enumerate(renderer.faces):
        assert face.name + (" held out" if number in held else "") in rows
    assert {"sot", "sot held out", "noise", "noise held out"} <= rows
    assert len(page.all("span", class_="held")) == len(held) + 3
    alone = ParsedPage(render_page(collect(data.definition, "test_backgrounds", 1)))
    rows = {row["data-name"] for row in alone.all("div", class_="row")}
    assert "sot held out" in rows
    assert "sot" not in rows


def test_refused_are_the_first_tries_that_render_draws_again(data: PageData) -> None:
    renderer = data.renderer
    before = renderer.render("train", range(600))
    refused = renderer.first_rejects("train", range(600))
    again = renderer.render("train", range(600))
    assert np.array_equal(before.images, again.images)
    samples = refused.samples
    assert set(samples["index"]) == set(before.samples["index"][before.samples["attempt"] > 0])
    assert not samples["attempt"].any()
    assert refused.rejects.total() == len(samples) > 20
    assert [before.texts[index] for index in samples["index"]] == refused.texts
    faint = samples["status"] == tables.LOW_CONTRAST
    assert (samples["contrast"][faint] < renderer.game.text.contrast).all()
    large = samples["status"] == tables.TOO_LARGE
    assert large.any()
    assert not refused.images[large].any()
    some = renderer.first_rejects("train", samples["index"][:5].tolist())
    assert np.array_equal(some.images, refused.images[:5])
    assert len(renderer.first_rejects("train", []).texts) == 0


def test_what_a_user_wrote_shows_literally() -> None:
    names = ["</script>", "<i>", "a&amp;b"]
    config: Config = {
        "name": "hostile",
        "title": "</title></script><b>$body ${title} {{ data }} \"'&lt;",
        "spec": "<b>N",
        "fields": {"N": names},
        "label": "N",
        "size": [20, 128],
        "images": {"train": 1, "val": 1, "test": 1},
        "text": {"fonts": ["oswald"], "height": [6, 8]},
        "backgrounds": [{"source": "gradient"}],
    }
    definition = define(config)
    command = "python -m textgen.preview '</code><script>alert(1)</script>'"
    settings = "a: </pre><script>alert(2)</script>"
    data = collect_page_data(definition, Renderer.from_definition(definition), "train", 2, 3, command, settings)
    page = ParsedPage(render_page(data))
    assert len(page.all("script")) == 1
    assert not page.all("b")
    shown = "\n".join(page.texts)
    for literal in ("<b>N", config["title"], command, settings, *names):
        assert literal in shown
    rows = {row["data-name"] for row in page.all("div", class_="row")}
    assert set(names) <= rows
    assert any("<b></script>" in crop["title"] for crop in page.all("i"))
    assert set(page.all("i")[0]) == {"class", "style", "title"}


def test_many_classes_and_large_crops_stay_a_small_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = render_page(collect(define(load("game", "lol_gold2")), each=20))
    assert len(text.encode()) < 3_000_000
    assert len(ParsedPage(text).all("div", class_="row")) >= 111
    assert "crops a row, to keep the page small" in text

    monkeypatch.setattr(textgen.preview.samples, "SAMPLES", 20)
    Image.new("RGB", (512, 512), "#203040").save(tmp_path / "large.png")
    large = changed(flat_game(tmp_path / "flat"), "size", [200, 300])
    large = changed(large, "backgrounds", [{"source": str(tmp_path / "large.png")}])
    text = render_page(collect(define(large), each=2))
    assert "crops at 1/2 of their size" in text
    assert next(iter(strips(text).values())).shape[0] == 100


def test_crops_of_a_contact_sheet_are_in_lines_of_equal_length() -> None:
    crops = [np.full((10, 300, 3), 200, np.uint8)] * 6
    sheet = draw_contact_sheet([("a", crops), ("b", crops[:1])], 3)
    assert sheet.width < 4000
    bright = (np.asarray(sheet)[:, :, 1] == 200).sum(1)
    assert [int((bright == 900 * count).sum()) for count in (3, 1)] == [2 * 30, 30]  # 3 + 3, and 1


def test_titles_of_a_contact_sheet_are_cut_and_drawn_in_a_font_that_has_them() -> None:
    crop = [np.zeros((20, 40, 3), np.uint8)]
    long = draw_contact_sheet([("A very long class name that goes on and on", crop)], 1)
    assert long.width < 20 * 12 + 40
    face = Path("fonts/roboto-condensed/roboto-condensed-400.ttf")
    title, font = _fit_title("é", 12, [face])
    assert (title, font.path) == ("é", face)
    assert _fit_title("é", 12, [])[0] == "U+00E9"
    assert _fit_title("é甲", 12, [face])[0] == "U+00E9U+7532"


@pytest.mark.parametrize(("each", "expected"), [(6, 6), (20, 10)])
def test_rows_have_numbers_of_crops_that_fill_lines(each: int, expected: int) -> None:
    config = changed(load("game", "lol_gold2"), "size", [40, 160])
    rows = group_by_class(data := collect(define(config), each=each), CropStrips(data))
    assert len(rows.rows[0].crops) in EVEN_ROWS
    assert rows.per_row <= expected


@pytest.mark.slow
def test_a_page_says_that_icons_may_be_cut_off_at_the_edge() -> None:
    said = "icons and neighbouring text may be cut off"
    config = load("game", "sot_coin")
    assert said in render_page(collect(define(changed(config, "text.icon", {"chance": 1})), each=1))
    plain = {**config, "text": {**config["text"], "icon": None, "neighbour": None}}
    assert said not in render_page(collect(define(plain), each=1))


def test_sparse_games_have_pages(tmp_path: Path) -> None:
    """One font of no choice on one colour, where nothing varies and nothing is refused."""
    config = changed(flat_game(tmp_path / "flat", fonts=["bebas-neue"], height=[8, 8], contrast=0), "images.train", 0)
    text = render_page(collect(define(config)))
    assert "was refused" in text
    ParsedPage(text)


# ---- The program.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the game `flat` in games/game/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "games" / "game").mkdir(parents=True)
    (tmp_path / "games" / "game" / "flat.yaml").write_text(yaml.safe_dump(flat_game(tmp_path / "pictures")))
    return tmp_path


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the preview of `flat` in this process."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which main sets: restored when the test ends

    def call(*arguments: str) -> Ended:
        every = ["--config-dir", "games", "game=flat", "each=2", *arguments]
        monkeypatch.setattr(sys, "argv", ["foldtext-preview", *every])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            textgen.preview.main.main()
        assert isinstance(caught.value.code, int)
        return Ended(caught.value.code, *capsys.readouterr())

    yield call
    GlobalHydra.instance().clear()


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("games", "pictures"))


def test_sheet_and_page_are_written(run: Run, here: Path) -> None:
    ended = run("lint=4", "zoom=2")
    assert ended.code == 0, ended.err
    assert made(here) == ["flat.html", "flat.png"]
    with Image.open(here / "flat.png") as image:
        assert image.height == 11 * (22 * 2 + 3) + 3
    page = ParsedPage((here / "flat.html").read_text(encoding="utf-8"))
    assert "python -m textgen.preview --config-dir=games game=flat each=2 lint=4 zoom=2" in page.texts
    assert any(element["id"] == "checks" for element in page.all("section"))
    assert {"balance", "order", "glyphs", "contrast"} <= set(page.texts)
    assert ended.out.splitlines()[0].startswith("flat.png: 11 classes, texts such as '0', '1', '2'")


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (None, ["game.png", "game.html"]),
        ("x.png", ["x.png", "x.html"]),
        ("a/x.JPG", ["a/x.JPG", "a/x.html"]),
        ("x.html", ["x.png", "x.html"]),
        ("x", ["x.png", "x.html"]),
        ("v1.2", ["v1.2.png", "v1.2.html"]),
        ("games", ["games/game.png", "games/game.html"]),
    ],
)
def test_out_names_either_or_both(here: Path, out: str | None, expected: list[str]) -> None:
    found = output_paths(Path(out) if out else None, "game")
    assert [path.as_posix() for path in found] == expected


@pytest.mark.parametrize("out", ["missing/x.png", "taken.png", "page.png", "games/game/flat.yaml/x"])
def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(run: Run, here: Path, out: str) -> None:
    (here / "taken.png").mkdir()
    (here / "taken.png" / "flat.png").mkdir()
    (here / "page.html").mkdir()
    before = made(here)
    ended = run("lint=0", f"out={out}")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("error: cannot write ")
    assert "out=" in ended.err
    assert made(here) == before
    assert made(here / "taken.png") == ["flat.png"]


def test_an_older_preview_stays_until_the_new_one_is_whole(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "flat.png").write_text("old")

    def fails(*_: object) -> PageData:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(textgen.preview.main, "collect_page_data", fails)
        with pytest.raises(RuntimeError):
            run("lint=0")
    assert made(here) == ["flat.png"]
    assert (here / "flat.png").read_text() == "old"
    assert run("lint=0").code == 0
    assert made(here) == ["flat.html", "flat.png"]


def test_a_game_that_cannot_be_drawn_shows_what_was_refused(run: Run, here: Path) -> None:
    ended = run("lint=0", "game.text.contrast=250")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "could not be drawn" in ended.err
    assert "flat.html shows the refused tries" in ended.err
    assert made(here) == ["flat.html"]
    page = ParsedPage((here / "flat.html").read_text(encoding="utf-8"))
    assert {element["id"] for element in page.all("section")} == {"about", "refused"}
    assert page.all("i")


@pytest.mark.parametrize("mistake", ["show=tset", "show=test_fonts", "each=0", "zoom=100", "lint=-1"])
def test_a_mistake_is_one_line(run: Run, here: Path, mistake: str) -> None:
    ended = run("lint=0", mistake) if "lint" not in mistake else run(mistake)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert mistake.partition("=")[0] in ended.err
    assert made(here) == []


def test_a_sheet_that_would_fill_the_memory_is_refused(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textgen.preview.contact_sheet, "MAX_PIXELS", 10_000)
    ended = run("lint=0")
    assert ended.code == 2
    assert "make each or zoom smaller" in ended.err
    assert made(here) == []


def test_where_the_checks_cannot_be_drawn_the_crops_are_shown(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Report:
        raise UserError("<i>'7'</i> could not be drawn")

    monkeypatch.setattr(textgen.preview.main, "lint", fails)
    ended = run()
    assert ended.code == 2
    assert "flat.html shows" in ended.err
    assert made(here) == ["flat.html", "flat.png"]
    page = ParsedPage((here / "flat.html").read_text(encoding="utf-8"))
    assert "<i>'7'</i> could not be drawn" in page.texts
    assert {"classes", "refused"} <= {element["id"] for element in page.all("section")}


def test_renderers_do_not_differ_by_what_was_refused_before() -> None:
    game = Game.from_config(load("game", "sot_time"))
    one, other = Renderer(game), Renderer(game)
    one.first_rejects("val", range(50))
    assert np.array_equal(one.render("val", range(30)).images, other.render("val", range(30)).images)
