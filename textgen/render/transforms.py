"""Pipelines of albumentations' pixel transforms from config, reproducible for each sample."""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgen.common.array_types import U8, Rng
from textgen.common.errors import UserError


class PixelTransforms:
    """A pipeline of albumentations' pixel transforms.

    `transforms` is a list of mappings: `name`, a subclass of `ImageOnlyTransform` (other transforms could move the text
    out of the crop), and its arguments. An empty list does not import albumentations, which takes a second.

    >>> augment = PixelTransforms([{"name": "GaussianBlur", "p": 1.0}])
    >>> import numpy as np
    >>> crop = np.zeros((22, 52, 3), np.uint8)
    >>> augment(crop, np.random.default_rng(0)).shape
    (22, 52, 3)
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]):
        self._compose = None
        self._lock = threading.Lock()  # the pipeline holds the random state of one sample
        if transforms:
            self._compose = _import_albumentations().Compose([_build_transform(entry) for entry in transforms])

    def __bool__(self) -> bool:
        return self._compose is not None

    def __call__(self, image: U8, rng: Rng) -> U8:
        """Apply the pipeline to an image uint8 (H, W, 3), with random numbers from `rng`."""
        if self._compose is None:
            return image
        # Not set_random_seed: it gives every transform the same random stream, so all blurred crops would be noisy.
        with self._lock:
            self._compose.set_random_state(rng, random.Random(int(rng.integers(1 << 63))))
            out: U8 = self._compose(image=image)["image"]
        return out


def _import_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import looks for a newer version on the network
    import albumentations  # noqa: PLC0415

    return albumentations


def _build_transform(entry: Mapping[str, Any]) -> Any:
    albumentations = _import_albumentations()
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise UserError(
            f"augment: each entry is a mapping with a name, as {{name: GaussianBlur, p: 0.3}}, not {entry!r}"
        )
    arguments = {str(key): value for key, value in entry.items() if key != "name"}
    kind = getattr(albumentations, str(entry["name"]), None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.ImageOnlyTransform)):
        raise UserError(f"augment: {entry['name']!r} is no pixel transform of albumentations (ImageOnlyTransform)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns of unknown arguments
            transform = kind(**arguments)
            probe = kind(**{**arguments, "p": 1.0})(image=np.zeros((16, 16, 3), np.uint8))["image"]
    except (UserWarning, ValueError, TypeError) as error:
        raise UserError(f"augment: {entry['name']} with {arguments}: {' '.join(str(error).split())}") from None
    if probe.dtype != np.uint8 or probe.shape != (16, 16, 3):
        raise UserError(f"augment: {entry['name']} with {arguments} does not give an RGB image of bytes: use another")
    return transform
