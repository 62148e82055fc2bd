"""Our own generator, as a training loop calls it: batches of samples by their indices."""

from itertools import count

import numpy as np

from textgen import compose, parse_definition
from textgen.render.renderer import Renderer

BATCH = 2048


def batches(job):
    """Images uint8 (n, H, W, 3) of the game that `job["overrides"]` makes of a composed config."""
    definition = parse_definition(compose(*job["overrides"]), seed=0)
    renderer = Renderer.from_definition(definition)
    # Crops of the class "other" are blank, and quick: the peers draw none, so neither do we.
    classes = len(renderer.classes)
    for first in count(step=BATCH):
        indices = np.arange(first, first + BATCH)
        yield renderer.render("train", indices[indices % classes != classes - 1]).images
