"""Our own generator, as a training loop calls it: batches of samples by their indices."""

from itertools import count, islice

from hydra import compose, initialize_config_module

from textgen.main import definition_of, plain

BATCH = 500


def batches(job):
    """Images uint8 (n, H, W, 3) of the game that `job["overrides"]` makes of a composed config."""
    with initialize_config_module("conf", version_base="1.3"):
        definition = definition_of(plain(compose("textgen", job["overrides"])), seed=0)
    renderer = definition.renderer()
    # Crops of the class "other" are blank, and quick: the peers draw none, so neither do we.
    indices = (i for i in count() if renderer.classes[i % len(renderer.classes)] != "other")
    while True:
        yield renderer.render("train", list(islice(indices, BATCH))).images
