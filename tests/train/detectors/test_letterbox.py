"""Letterboxing: frames keep their proportions, and boxes come back to where they were."""

import numpy as np
import pytest

from train.detectors.letterbox import GRAY, Letterbox, open_size


@pytest.mark.parametrize("frame", [(576, 768), (1080, 1920), (480, 270), (33, 1000), (1, 1), (640, 640)])
@pytest.mark.parametrize("size", [(640, 640), (384, 640), (96, 32)])
def test_boxes_come_back(frame: tuple[int, int], size: tuple[int, int]) -> None:
    letterbox = Letterbox(frame, size)
    (height, width), (top, left) = letterbox.scaled, letterbox.corner
    assert height == size[0] or width == size[1]
    assert abs(height / frame[0] - width / frame[1]) <= 1 / min(frame)  # a rounded pixel
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 1, (50, 2, 2)), 1) * [frame[1], frame[0]]
    boxes = corners.reshape(50, 4).astype(np.float32)
    moved = boxes * np.array([width / frame[1], height / frame[0]] * 2) + [left, top, left, top]
    assert letterbox.restore(moved.astype(np.float32)) == pytest.approx(boxes, abs=2e-3 * max(frame) / 32)


def test_what_is_drawn_is_found_again() -> None:
    frame = np.zeros((90, 200, 3), np.uint8)
    frame[30:60, 120:170] = 255
    letterbox = Letterbox((90, 200), (320, 320))
    scaled = letterbox.apply(frame)
    top = letterbox.corner[0]
    assert (scaled[:top] == GRAY).all()
    assert (scaled[top + letterbox.scaled[0] :] == GRAY).all()
    rows, columns = np.nonzero(scaled[..., 0] > 200)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    assert letterbox.restore(box)[0] == pytest.approx((120, 30, 170, 60), abs=1)


def test_a_frame_of_the_size_of_the_input_is_not_touched() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(Letterbox((64, 96), (64, 96)).apply(frame), frame)


def test_boxes_are_cut_off_at_the_edges_of_the_frame() -> None:
    restored = Letterbox((100, 100), (320, 640)).restore(np.array([[-50, -50, 900, 900]], np.float32))
    assert restored.tolist() == [[0, 0, 100, 100]]


def test_sides_of_inputs_that_a_model_leaves_open() -> None:
    assert open_size((1, 1), None) == (32, 32)
    assert open_size((32, 33), None) == (32, 64)
    assert open_size((300, 300), 640) == (640, 640)
