"""References of a cascade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textgen.common.errors import UserError
from train.cascade.reference import load_detector_reference
from train.detectors.options import DetectorOptions


def test_a_wrong_answer_is_said_to_be_the_reference_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is reference=, as there is no detector= to change."""
    (tmp_path / "wrong_reference.py").write_text("def nothing(frames):\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    options = DetectorOptions()
    reference = load_detector_reference("wrong_reference:nothing", "car", 0.5, threads=1, options=options)
    with pytest.raises(UserError, match=r"^reference=wrong_reference:nothing gave None"):
        reference.answer([0], [np.zeros((4, 4, 3), np.uint8)])
