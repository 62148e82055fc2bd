"""Crops to values, in Python and as a reader of `textgen.label`."""

import sys
from pathlib import Path
from subprocess import run as run_process
from typing import Any

import cv2
import numpy as np
import pytest
from bits import CLASSES, SIZE, draw, network_of, save_run

from textgen.common.errors import UserError
from textgen.label.readers import ReaderSettings, Reading, make_reader
from textgen.spec.parser import Spec
from train import Predictor


def noisy_crops(n: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[str]]:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 16, n)
    pictures = np.array([draw(value, 32, 8) for value in values])
    noisy = np.clip(pictures + rng.normal(0, 40, pictures.shape), 0, 255).astype(np.uint8)
    return noisy, [CLASSES[value] for value in values]


@pytest.mark.parametrize(("engine", "fold"), [("auto", 1), ("auto", 4), ("fused", 3), ("eager", 3), ("onnxruntime", 2)])
def test_every_engine_gives_the_same_values(tmp_path: Path, engine: Any, fold: int) -> None:
    predictor = Predictor.load(save_run(tmp_path / "run", fold), engine=engine)
    assert predictor.engine == ("fused" if engine == "auto" else engine)
    assert (predictor.size, predictor.classes, predictor.fold) == (SIZE, CLASSES, fold)
    crops, values = noisy_crops(2 * fold + 23)
    found = predictor(crops)
    assert [value for value, _ in found] == values == network_of(fold).classify(crops)
    assert all(0.5 <= probability <= 1 for _, probability in found)
    scores = predictor.log_probabilities(crops)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    fused = Predictor.load(tmp_path / "run").log_probabilities(crops)
    np.testing.assert_allclose(np.exp(scores), np.exp(fused), atol=1e-5)
    assert predictor([]) == []


def test_crops_of_any_size_are_scaled(tmp_path: Path) -> None:
    predictor = Predictor.load(str(save_run(tmp_path / "run")))
    crops = [cv2.resize(draw(9), size, interpolation=cv2.INTER_NEAREST) for size in ((32, 8), (96, 40), (20, 9))]
    assert [value for value, _ in predictor(crops)] == ["9"] * 3
    for wrong in (draw(1), draw(1)[None].astype(float), np.zeros((2, 8, 32, 4), np.uint8)):
        with pytest.raises(ValueError, match="crop"):
            predictor(wrong)


def test_values_below_the_threshold_are_unsure(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", unsure_below=0.9)
    grey = np.full((1, *SIZE, 3), 192, np.uint8)
    grey[0, :, :24] = draw(5, 32, 8)[:, :24]  # its last square is neither black nor white
    ((value, probability),) = Predictor.load(folder)(grey)
    assert value == "unsure"
    assert probability < 0.9
    assert Predictor.load(folder, threshold=0)(grey)[0].value in ("5", "13")
    assert Predictor.load(folder / "model.safetensors").threshold == 0.9
    (folder / "result.json").unlink()
    assert Predictor.load(folder).threshold == 0


def test_bad_runs_and_engines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Predictor.load(tmp_path / "none")
    folder = save_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"engine=fused is not available|device=cuda cannot be used"):
        Predictor.load(folder, engine="fused", device="cuda")
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    with pytest.raises(UserError, match=r"no model\.safetensors of foldtext, or is damaged"):
        Predictor.load(folder)


def test_the_fused_code_needs_no_pytorch(tmp_path: Path) -> None:
    """PyTorch takes 180 MB, and seconds to import."""
    save_run(tmp_path / "run", 4)
    code = "import sys; from train import Predictor; Predictor.load('run'); sys.exit('torch' in sys.modules)"
    assert run_process([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_a_network_labels_crops(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", 2)
    spec = Spec.parse("N", label="N", fields={"N": "0..14"})
    reader = make_reader("network", ReaderSettings(spec, run=folder))
    found = reader.read([draw(3), draw(15), draw(7, 40, 11)])
    assert [(reading.text, reading.label) for reading in found] == [(None, "3"), (None, "other"), (None, "7")]
    assert all(isinstance(reading, Reading) and reading.confidence > 0.99 for reading in found)
    assert reader.name.startswith("network ")
    with pytest.raises(UserError, match="give run="):
        make_reader("network", ReaderSettings(spec))
    other = Spec.parse("N", label="N", fields={"N": "0..9"})
    with pytest.raises(UserError, match="such as '10'; the game to label has 11"):
        make_reader("network", ReaderSettings(other, run=folder))
