"""What a dotted name is, and what is imported for it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from textgen.common.errors import UserError
from train.folding.own_module import DOTTED, import_dotted


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in ("étage", "own_things"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["a:b", "a.b_1:c", "a.b:C.d", "étage:Réseau"])
def test_dotted_names(name: str) -> None:
    assert DOTTED.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["a", "a.b", "a:", ":b", "a:1", "1a:b", "a/b.py:c", "a:b()", "a..b:c", "a:b.", "a:b:c"]
)
def test_other_texts(name: str) -> None:
    assert not DOTTED.fullmatch(name)
    with pytest.raises(UserError, match=re.escape(f"network={name}: write a module and a name in it")):
        import_dotted(name, "network")


def test_names_of_modules_and_classes(here: Path) -> None:
    (here / "étage.py").write_text("class Réseau:\n    class Petit:\n        pass\n", encoding="utf-8")
    assert import_dotted("étage:Réseau", "network").__name__ == "Réseau"
    assert import_dotted("étage:Réseau.Petit", "network").__qualname__ == "Réseau.Petit"
    for absent in ("Absent", "Réseau.Grand", "Réseau.__doc__"):
        with pytest.raises(UserError, match=f"detector=étage:{absent}: module étage has no class or function {absent}"):
            import_dotted(f"étage:{absent}", "detector")


def test_an_error_of_a_file_within_the_users_module_is_no_message_of_ours(here: Path) -> None:
    (here / "own_things.py").write_text("open('missing.txt')\n")
    with pytest.raises(RuntimeError, match="network=own_things:Net failed: FileNotFoundError"):
        import_dotted("own_things:Net", "network")
