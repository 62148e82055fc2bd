"""The people detector. People are drawn: nothing else is at hand that is free to be kept here."""

import cv2
import numpy as np
import pytest
import torch

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from train.detectors.load import load_detector
from train.detectors.people import BINS, PeopleDetector


def draw_person(frame: U8, left: int, top: int, height: int, gray: int) -> None:
    """A figure of head, trunk and legs, `height` pixels tall, its middle at `left`."""
    unit = height / 8

    def at(x: float, y: float) -> tuple[int, int]:
        return round(left + x * unit), round(top + y * unit)

    color = (gray, gray, gray)
    cv2.circle(frame, at(0, 0.6), round(0.55 * unit), color, -1, cv2.LINE_AA)
    body = [(-1, 1.3), (1, 1.3), (1.2, 4), (0.8, 4.2), (0.7, 8), (0.15, 8), (0, 4.6), (-0.15, 8), (-0.7, 8)]
    points = np.array([at(x, y) for x, y in [*body, (-0.8, 4.2), (-1.2, 4)]])
    cv2.fillPoly(frame, [points], color, cv2.LINE_AA)


@pytest.fixture(scope="module")
def street() -> U8:
    """A bright ground with little noise."""
    ground = np.random.default_rng(0).normal(180, 3, (240, 320, 1)).clip(0, 255)
    return cv2.GaussianBlur(np.repeat(ground, 3, 2), (0, 0), 2).astype(np.uint8)


def test_drawn_people_are_found_where_they_are(street: U8) -> None:
    detector = load_detector("people", confidence=0.5)
    assert detector.objects == ("person",)
    frames = [street.copy() for _ in range(3)]
    draw_person(frames[1], 100, 60, 100, 40)
    draw_person(frames[2], 80, 30, 110, 30)
    draw_person(frames[2], 230, 60, 150, 60)
    found = detector(frames)
    assert [len(each) for each in found] == [0, 1, 2]
    for each, wanted in (
        (found[1][0], (100, 60, 100)),
        *zip(sorted(found[2], key=lambda d: d.xmin), [(80, 30, 110), (230, 60, 150)], strict=True),
    ):
        middle, top, height = wanted
        assert (each.xmin + each.xmax) / 2 == pytest.approx(middle, abs=height / 10)
        assert each.ymin == pytest.approx(top, abs=height / 6)
        assert each.ymax == pytest.approx(top + height, abs=height / 6)


def test_small_people_are_found_in_a_larger_frame(street: U8) -> None:
    frame = street.copy()
    draw_person(frame, 100, 80, 56, 40)
    assert load_detector("people", confidence=0.5)([frame]) == [[]]
    ((found,),) = load_detector("people", confidence=0.5, size=(480, 640))([frame])
    assert (found.xmin + found.xmax) / 2 == pytest.approx(100, abs=6)
    assert found.ymax == pytest.approx(136, abs=10)


def test_frames_that_are_smaller_than_a_window() -> None:
    assert load_detector("people")([np.zeros((20, 20, 3), np.uint8)]) == [[]]
    assert load_detector("people")([np.zeros((96, 32, 3), np.uint8)]) == [[]]


def test_the_direction_of_gradients() -> None:
    """Of a vertical edge the gradient points across, which lies between the last and the first of nine directions."""
    frame = np.zeros((48, 48, 3), np.uint8)
    frame[:, 24:] = 200
    detector = PeopleDetector(None, 0.5, 0.45, 1)
    across = detector.blocks(frame)[:, 2, 2].reshape(4, BINS)
    assert across[:, 1:-1].abs().max() < 1e-4
    assert across[:, 0] == pytest.approx(across[:, -1], abs=1e-4)
    assert across.max() > 0.1
    down = detector.blocks(np.ascontiguousarray(frame.transpose(1, 0, 2)))[:, 2, 2].reshape(4, BINS)
    assert down.argmax(1).tolist() == [4] * 4
    assert torch.equal(detector.blocks(np.zeros((48, 48, 3), np.uint8)), torch.zeros(36, 5, 5))


def test_histograms_and_margin_are_those_of_opencv() -> None:
    """Figures of OpenCV 4.12, of `HOGDescriptor.compute` at (16, 16) and the product with its coefficients."""
    y, x, c = np.mgrid[:160, :96, :3]
    frame = ((x * x * 3 + y * y * 5 + x * y * (c + 1) + 40 * c) // 16 % 256).astype(np.uint8)
    detector = PeopleDetector(None, 0.5, 0.45, 1)
    window = detector.blocks(frame)[:, 2:17, 2:9].permute(2, 1, 0).reshape(-1)
    wanted = [0.0, 0.0098, 0.16178, 0.0, 0.00881, 0.28325, 0.05792, 0.05142, 0.03282]
    assert window[::420].tolist() == pytest.approx(wanted, abs=1e-4)
    with torch.inference_mode():
        assert float(detector.margins(frame)[4, 4]) == pytest.approx(-3.4917, abs=1e-3)  # with 16 pixels around


def test_settings_of_other_detectors_are_refused() -> None:
    with pytest.raises(UserError, match="leave names out"):
        load_detector("people", names=("person",))
    with pytest.raises(UserError, match="there is no such detector; give people"):
        load_detector("faces")
