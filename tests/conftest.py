"""Games as plain mappings. The list of games is that of the files in conf/game/, and is written nowhere else."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from textgen.common.hydra_app import compose_config

torch.set_num_threads(1)  # as many processes as cores run the tests, and threads that share a core wait for each other
ROOT = Path(__file__).parents[1]
GAMES = sorted(path.stem for path in (ROOT / "conf" / "game").glob("*.yaml"))
Config = dict[str, Any]


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def load(group: str, name: str) -> Config:
    """conf/<group>/<name>.yaml as a plain mapping."""
    loaded = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def changed(config: Config, path: str, value: object) -> Config:
    """A copy of `config` with `value` at a dotted path; steps that are not there are made."""
    copy = deepcopy(config)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inner: Any = copy
    for step in steps:
        inner = inner[step] if isinstance(step, int) else inner.setdefault(step, {})
    inner[last] = value
    return copy


def composed(*overrides: str) -> Config:
    """The configuration of `python -m train` with these overrides, as plain values."""
    return compose_config("train", *overrides)


def flat_game(folder: Path, color: str = "#000000", **text: Any) -> Config:
    """A game of the digits 0 to 9 on one flat colour, a picture in `folder`, without shadow or jitter."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (160, 96), color).save(folder / "flat.png")
    style = {"fonts": ["oswald"], "height": [8, 14], "color_jitter": 0, "margin": 1, "contrast": 60}
    flat = {"source": f"{folder}/", "light": [1, 1]}
    images = {"train": 2, "val": 1, "test": 1}
    base = {"name": "flat", "spec": "X", "label": "X", "size": [22, 30], "images": images}
    return {**base, "text": {**style, **text}, "backgrounds": [flat]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test with an argument `game_name` runs for every game."""
    if "game_name" in metafunc.fixturenames:
        metafunc.parametrize("game_name", GAMES)


@pytest.fixture
def games() -> list[str]:
    return GAMES


@pytest.fixture
def config() -> Callable[[str], Config]:
    """conf/game/<name>.yaml as a plain mapping, to be changed at will."""
    return lambda name: load("game", name)


@pytest.fixture
def small_game() -> Config:
    """sot_time with four, two and two images a class."""
    return {**load("game", "sot_time"), "images": {"train": 4, "val": 2, "test": 2}}


@pytest.fixture
def rng() -> Iterator[np.random.Generator]:
    """A generator; the global one is left as it was, or the test fails."""
    before = np.random.get_state()[1].tobytes()  # type: ignore[union-attr, index]
    yield np.random.default_rng(0)
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[union-attr, index]
