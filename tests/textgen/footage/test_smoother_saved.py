"""A smoother that is saved and restored gives the labels of one that was never stopped."""

import numpy as np
import pytest

from textgen.footage.smoothing import Kind, Smoother


@pytest.mark.parametrize("kind", ["clock", "counter", "none"])
def test_saved_and_restored(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    classes = [*map(str, range(10)), "other"]
    scores = (
        rng.normal(size=(1500, 11)).astype(np.float32) + 4 * np.eye(11, dtype=np.float32)[np.arange(1500) // 30 % 10]
    )
    times = np.arange(1500) / 30
    whole, first = Smoother(classes, kind, 40), Smoother(classes, kind, 40)
    wanted = [whole.push(scores[:700], times[:700]), whole.push(scores[700:], times[700:]), whole.finish()]
    begun = first.push(scores[:700], times[:700])
    second = Smoother(classes, kind, 40)
    second.restore(first.save())
    found = [begun, second.push(scores[700:], times[700:]), second.finish()]
    assert np.concatenate(found).tolist() == np.concatenate(wanted).tolist()
