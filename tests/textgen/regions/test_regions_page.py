"""The page on which regions are drawn: what it holds, and in a real browser, with mouse and keyboard."""

import base64
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from browser import PROGRAM, Browser, open_browser

from textgen.common.hydra_app import compose_config
from textgen.footage.frames import Frame
from textgen.footage.pixels import RgbPixels
from textgen.footage.regions import Region, parse_regions
from textgen.footage.samples import sample_frames
from textgen.regions.page import render_page

SIZE = (240, 400)
EVIL = "</script><script>document.title='changed'</script><b>\"'&.mp4"
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")


def frames(count: int = 3) -> list[Frame]:
    made = []
    for k in range(count):
        picture = np.full((*SIZE, 3), 40 + 30 * k, np.uint8)
        cv2.putText(picture, f"0{k}", (60, 120), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 240, 200), 2)
        made.append(Frame(10 * k, k / 3, RgbPixels(picture)))
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Browser:
    path = tmp_path / "page.html"
    path.write_text(render_page("a b.mp4", frames(), [Region("old", 300, 200, 50, 30)]), encoding="utf-8")
    browser.open(path)
    browser.run("zoom.value = '1'; fit()")  # a pixel of the frame is one of the window
    return browser


def at(page: Browser, x: float, y: float) -> tuple[float, float]:
    left, top = page.run("(() => { const box = stage.getBoundingClientRect(); return [box.left, box.top]; })()")
    return left + x, top + y


def drag(page: Browser, start: tuple[int, int], end: tuple[int, int]) -> None:
    page.drag(at(page, *start), at(page, *end))


def drawn(page: Browser) -> dict[str, list[int]]:
    """The regions of the YAML, which are also those of the setting in quotes for the shell and of the command."""
    given: dict[str, list[int]] = yaml.safe_load(page.run("document.getElementById('yaml').value")) or {}
    setting, command = (page.run(f"document.getElementById('{name}').value") for name in ("setting", "command"))
    if given:
        start = ["python", "-m", "textgen.cut", "source=a b.mp4"]
        assert shlex.split(command) == start + shlex.split(setting)
        assert compose_config("cut", *shlex.split(command)[3:])["regions"] == given
        assert [region.name for region in parse_regions(given, SIZE)] == list(given)
    else:
        assert (setting, command) == ("", "")
    return given


@needs_browser
def test_regions_are_drawn_named_moved_resized_and_deleted(page: Browser) -> None:
    old = {"old": [300, 200, 50, 30]}
    assert drawn(page) == old
    drag(page, (50, 80), (150, 130))
    assert drawn(page) == old | {"region": [50, 80, 100, 50]}
    page.type("timer")  # the name is selected after drawing
    assert drawn(page) == old | {"timer": [50, 80, 100, 50]}
    drag(page, (100, 105), (110, 100))
    assert drawn(page)["timer"] == [60, 75, 100, 50]
    drag(page, (100, 105), (-300, 900))  # not over the edge
    assert drawn(page)["timer"] == [0, 190, 100, 50]
    drag(page, (100, 190), (120, 150))  # the upper right corner
    assert drawn(page)["timer"] == [0, 150, 120, 90]
    for key, modifiers in (("ArrowRight", 0), ("ArrowUp", 0), ("ArrowLeft", 8), ("ArrowUp", 8)):
        page.press(key, modifiers)
    assert drawn(page)["timer"] == [1, 149, 119, 89]
    drag(page, (200, 20), (180, 10))  # from any corner
    assert drawn(page)["region"] == [180, 10, 20, 10]
    drag(page, (250, 20), (250, 20))  # a click draws nothing
    assert len(drawn(page)) == 3
    drag(page, (190, 15), (190, 15))
    page.press("Delete")
    page.run("document.querySelector('#list button').click()")
    assert drawn(page) == {"timer": [1, 149, 119, 89]}
    page.run(
        "const input = document.querySelectorAll('#list input')[3]; input.value = 9999; "
        "input.dispatchEvent(new Event('change'))"
    )
    assert drawn(page) == {"timer": [0, 149, 400, 89]}


@needs_browser
def test_names_that_cannot_be_used_are_told(page: Browser) -> None:
    drag(page, (50, 80), (150, 130))
    for name, problem in [
        ("a b", "a name has letters"),
        ("1", "a name has letters"),
        ("Yes", "means something else"),
        ("OLD", "two regions have this name"),
    ]:
        page.run("document.querySelector('li.selected .name').select()")
        page.type(name)
        assert problem in page.run("error.textContent")
        assert drawn(page) == {}
    page.run("document.querySelector('li.selected .name').select()")
    page.type("a-b_2")
    assert page.run("error.textContent") == ""
    assert list(drawn(page)) == ["old", "a-b_2"]


@needs_browser
def test_the_region_is_shown_in_every_frame(page: Browser) -> None:
    drag(page, (150, 30), (190, 50))
    grey = (
        "[...document.querySelectorAll('#crops canvas')].map(canvas => "
        "canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0])"
    )
    assert np.allclose(page.run(grey), [40, 70, 100], atol=3)
    captions = page.run("[...document.querySelectorAll('#crops figcaption')].map(caption => caption.textContent)")
    assert captions == ["0.00 s, frame 0", "0.33 s, frame 10", "0.67 s, frame 20"]
    page.run("slider.value = 2; slider.dispatchEvent(new Event('input'))")
    assert page.run("context.getImageData(300, 20, 1, 1).data[0]") == pytest.approx(100, abs=3)
    assert page.run("document.getElementById('when').textContent") == "0.67 s, frame 20"


@needs_browser
def test_the_button_copies(page: Browser) -> None:
    page.run("document.querySelector('.copy button').click(); new Promise(done => setTimeout(done, 300))")
    assert re.match(r"Copied\.|The browser does not allow copying", page.run("copied.textContent"))
    selected = "document.activeElement.value.slice(document.activeElement.selectionStart)"
    assert page.run(selected) == "old: [300, 200, 50, 30]\n"


@needs_browser
def test_names_are_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render_page(EVIL, frames(1)), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.title") == f"Regions of {EVIL}"
    assert browser.run("document.querySelector('h1').textContent") == f"Regions of {EVIL}"
    source = browser.run("JSON.parse(document.getElementById('data').textContent).source")
    assert source == shlex.quote(f"source={EVIL}")
    assert browser.run("document.querySelectorAll('b').length") == 0


def test_a_page_is_one_file_and_wide_frames_are_scaled_down() -> None:
    wide = Frame(0, 0.0, RgbPixels(np.zeros((1000, 2880, 3), np.uint8)))
    text = render_page(EVIL, [wide])
    assert not re.search(r"https?://|<link rel=.stylesheet|<script src", text)
    assert EVIL not in text
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data[0]), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[:2] == (667, 1920)


def test_frames_come_from_all_of_the_footage(tmp_path: Path) -> None:
    for k in range(40):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((16, 16, 3), k, np.uint8))
    assert [frame.index for frame in sample_frames(tmp_path, 4, rate=10)] == [0, 10, 20, 30]
    assert [frame.index for frame in sample_frames(tmp_path, 4, rate=10, start=1, end=3)] == [10, 15, 20, 25]
    assert [frame.index for frame in sample_frames(tmp_path, 100, rate=10)] == list(range(40))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for k in range(5):
        cv2.imwrite(str(tmp_path / "shots" / f"{k}.png"), np.full((*SIZE, 3), k, np.uint8))
    arguments = ["source=shots", "frames=3", "regions={timer: [0.5, 0.5, 0.25, 0.25]}"]
    command = [sys.executable, "-m", "textgen.regions", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("regions.html: 3 frames of shots;")
    text = (tmp_path / "regions.html").read_text(encoding="utf-8")
    assert '"box": [200, 120, 100, 60], "name": "timer"' in text
