"""Functions of the user's own, by dotted name."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from textgen.common.errors import UserError
from train.detectors.detection import Detection
from train.detectors.load import load_detector

FRAMES = [np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 200, np.uint8)]
BOX = "('car', 0.5, 1, 2, 3, 4)"
Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the module `own.detect` in a package in the current folder."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    def write_module(text: str) -> None:
        (tmp_path / "own" / "detect.py").write_text(text, encoding="utf-8")

    yield write_module
    for name in [name for name in sys.modules if name.split(".")[0] == "own"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "text",
    [
        f"def found(frames):\n    return [[{BOX}] if f.max() else [] for f in frames]",
        f"class found:\n    def __call__(self, frames):\n        return [[{BOX}] if f.max() else [] for f in frames]",
        f"def found(weights='x'):\n    return lambda frames: [[{BOX}] if f.max() else [] for f in frames]",
        f"class A:\n    def call(self, *given):\n        return [[{BOX}] if f.max() else [] for f in given[0]]\n"
        "found = A().call",
        f"def found(frames):\n    return ((list({BOX}) for _ in range(int(f.max() > 0))) for f in frames)",
    ],
)
def test_functions_classes_and_factories(write: Write, text: str) -> None:
    write(text)
    detector = load_detector("own.detect:found")
    assert detector(FRAMES) == [[], [Detection("car", 0.5, 1, 2, 3, 4)]]
    assert load_detector("own.detect:found", confidence=0.6)(FRAMES) == [[], []]


def test_a_name_within_a_class(write: Write) -> None:
    write("class A:\n    @staticmethod\n    def found(frames):\n        return [[] for _ in frames]")
    assert load_detector("own.detect:A.found")(FRAMES) == [[], []]


def test_a_module_is_imported_only_when_it_is_named(write: Write, tmp_path: Path) -> None:
    write("import pathlib\npathlib.Path('was_here').touch()\ndef found(frames):\n    return [[] for _ in frames]")
    for text in ("own.detect", "own/detect.py", "own.detect:", "people", "own.detect:found()"):
        if text == "people":
            load_detector(text)
        else:
            with pytest.raises(UserError):
                load_detector(text)
    assert not (tmp_path / "was_here").exists()
    load_detector("own.detect:found")
    assert (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "own.other:found", "there is no module own.other in"),
        ("", "missing.detect:found", "there is no module missing in"),
        ("", "own.detect:found", "module own.detect has no class or function found"),
        ("", "own.detect:A.found", "module own.detect has no class or function A.found"),
        ("found = 3", "own.detect:found", "module own.detect has no class or function found"),
        ("def found():\n    return 3", "own.detect:found", "gave 3, which cannot be called"),
    ],
)
def test_names_that_are_not_there(write: Write, text: str, name: str, message: str) -> None:
    write(text)
    with pytest.raises(UserError, match=re.escape(message)):
        load_detector(name)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("None", "gave None; it has to give a list"),
        ("[[]]", "gave 1 lists for 2 frames"),
        ("[[], [('car', 0.5, 1, 2, 3)]]", "it has to give a list"),
        ("[[], [('car', 'x', 1, 2, 3, 4)]]", "it has to give a list"),
        ("[[], [7]]", "gave 7; it has to"),
        ("[[], [(3, 0.5, 1, 2, 3, 4)]]", "gave the name 3"),
        ("[[], [('', 0.5, 1, 2, 3, 4)]]", "gave the name ''"),
        ("[[], [('a\\nb', 0.5, 1, 2, 3, 4)]]", "give a text in one line"),
        ("[[], [('car', 1.5, 1, 2, 3, 4)]]", "confidence 1.5"),
        ("[[], [('car', float('nan'), 1, 2, 3, 4)]]", "confidence nan"),
        ("[[], [('car', 0.5, 3, 2, 1, 4)]]", "gave the box [3.0, 2.0, 1.0, 4.0]"),
        ("[[], [('car', 0.5, 1, 2, float('inf'), 4)]]", "gave the box"),
    ],
)
def test_results_of_another_form(write: Write, result: str, message: str) -> None:
    write(f"def found(frames):\n    return {result}")
    with pytest.raises(UserError, match=re.escape(message)):
        load_detector("own.detect:found")(FRAMES)


@pytest.mark.parametrize("error", ["ValueError", "FileNotFoundError", "BrokenPipeError", "ImportError"])
def test_an_error_in_the_users_code_is_theirs(write: Write, error: str) -> None:
    write(f"def found(frames):\n    raise {error}('broken')")
    detector = load_detector("own.detect:found")
    with pytest.raises(Exception, match="broken") as caught:
        detector(FRAMES)
    assert not isinstance(caught.value, UserError | OSError)  # which a command would tell in one line
    write(f"raise {error}('broken')")
    for name in [name for name in sys.modules if name.split(".")[0] == "own"]:
        del sys.modules[name]
    with pytest.raises(Exception, match="broken") as caught:
        load_detector("own.detect:found")
    assert not isinstance(caught.value, UserError | OSError)


def test_a_module_that_misses_another_one(write: Write) -> None:
    write("import a_missing_library")
    with pytest.raises(ModuleNotFoundError, match="a_missing_library"):
        load_detector("own.detect:found")


def test_settings_of_other_detectors_are_refused(write: Write) -> None:
    write("def found(frames):\n    return [[] for _ in frames]")
    for settings in ({"size": (64, 64)}, {"overlap": 0.5}, {"channels": "bgr"}):
        with pytest.raises(UserError, match="leave"):
            load_detector("own.detect:found", **settings)
