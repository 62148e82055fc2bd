"""The state of a training on disk: whole, or refused by name and the one before it used."""

from pathlib import Path

import pytest
import torch

from train.trainer import checkpoint

STATE = {"identity": "a", "net": {"w": torch.arange(6.0)}, "progress": {"epoch": 3, "best": (0.5, -1.0)}}


def saved(folder: Path) -> None:
    checkpoint.save(folder, STATE | {"progress": {"epoch": 2}})
    checkpoint.save(folder, STATE)


def test_what_is_saved_is_loaded_and_for_its_own_run_alone(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path, "a") is None
    saved(tmp_path)
    state = checkpoint.load(tmp_path, "a")
    assert state
    assert torch.equal(state["net"]["w"], torch.arange(6.0))
    assert state["progress"] == STATE["progress"]
    assert checkpoint.load(tmp_path, "b") is None
    assert checkpoint.belongs_to_another_run(tmp_path, "b")
    assert not checkpoint.belongs_to_another_run(tmp_path, "a")
    checkpoint.remove(tmp_path)
    assert not checkpoint.belongs_to_another_run(tmp_path, "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["half", "empty", "text", "bit"])
def test_a_damaged_file_is_refused_by_name_and_the_previous_one_used(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    at = whole.index(torch.arange(6.0).numpy().tobytes()) + 9
    bit = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"no state", "bit": bit}[damage])
    state = checkpoint.load(tmp_path, "a")
    assert state
    assert state["progress"] == {"epoch": 2}
    told = capsys.readouterr().err
    assert "checkpoint.pt is damaged" in told
    assert "checkpoint.old.pt is used" in told


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    torch.save({"identity": "a", "evil": Evil()}, tmp_path / "checkpoint.pt")
    assert checkpoint.load(tmp_path, "a") is None
    assert not (tmp_path / "executed").exists()
    assert "is damaged" in capsys.readouterr().err
