"""Which objects of a drawn scene are labelled: those that can be seen."""

import numpy as np

from benchmarks.noscope.scene import SIZE, Passer, draw_scene, find_visible

COLOURS = np.full((2, 3), 200, np.uint8)


def passer(kind: str, x: float, y: float, height: int = 30, width: int = 60) -> Passer:
    return Passer(kind, x, y, height, width, 4.0, COLOURS)


def test_what_is_hidden_or_mostly_outside_is_not_labelled() -> None:
    car, bus = passer("car", 50, 80), passer("bus", 40, 90, 50, 110)
    assert find_visible([car, bus]) == [bus]
    assert find_visible([bus, car]) == [bus, car]  # now the car is in front
    beside = passer("bus", 85, 90, 50, 110)  # before less than half of the car
    assert find_visible([car, beside]) == [car, beside]
    outside, gone = passer("car", -35, 80), passer("car", -62, 80)
    assert find_visible([outside, gone]) == []
    assert find_visible([passer("car", 60, 80), gone])[0].x == 60  # one that has left hides nothing


def test_a_scene_is_the_same_again() -> None:
    first, second = ([*draw_scene(40, 3, ("car", "bus"), 1.0)] for _ in range(2))
    assert all((a[0] == b[0]).all() and a[0].shape == (*SIZE, 3) for a, b in zip(first, second, strict=True))
    assert [[each.kind for each in visible] for _, visible in first] == [
        [each.kind for each in visible] for _, visible in second
    ]
