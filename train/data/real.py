"""Real crops in training: a source of images in which some of the synthetic crops of each class are replaced."""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.real.characters import MAX_GAP
from textgen.real.crops import RealCrops, load_real_crops, split_in_time
from textgen.real.recombine import Recombiner
from textgen.real.variation import vary
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec
from train.data.order import Labels
from train.data.sources import DeviceSplit, Source, as_tensor

POOL, MAX_EACH = 6000, 60  # crops put together in all, and of each class
AHEAD = 4  # batches whose real crops are made before the network needs them
Answer = int | tuple[int, ...]  # the label of a crop, of one field or of several


@dataclass(frozen=True)
class RealData:
    """Real crops by what they are for. `train` are those of the footage, `recombined` those made of them.

    `val` and `test`, uint8 (n, H, W, 3), are in the network's size, on the device. `characters` are those that
    recombined crops are made of.
    """

    train: RealCrops
    recombined: tuple[U8, NDArray[np.int64]]
    val: DeviceSplit
    test: DeviceSplit
    characters: str


def load_real_data(
    folder: Path,
    test_folder: Path | None,
    fields: LabelFields,
    size: tuple[int, int],
    spec: Spec | None,
    seed: int,
    device: torch.device,
) -> RealData:
    """Load `folder`, divide it in time, and make crops of texts that it does not show.

    With a `test_folder` that is the test set, and `folder` is divided into training and validation alone. Raises
    `UserError`, also for footage that is too short to be divided.
    """
    crops = load_real_crops(folder, fields.classes, size, spec)
    parts = split_in_time(crops, ("train", "val") if test_folder else ("train", "val", "test"))
    if test_folder:
        parts["test"] = load_real_crops(test_folder, fields.classes, size, spec, "real_test")
    if empty := [name for name, part in parts.items() if not len(part)]:
        raise UserError(
            f"real={folder} has {len(crops)} labelled crops, too few for {' and '.join(empty)} with gaps between: give"
            " more footage"
        )
    train = parts["train"]
    images, labels, characters = np.empty((0, *train.images.shape[1:]), np.uint8), train.labels[:0], ""
    if spec is not None:
        recombiner = Recombiner(train, spec)
        rng = np.random.default_rng([seed, len(fields.classes)])
        if spec.is_joint:
            images, labels = recombiner.make_texts(POOL, rng)
        else:
            each = min(MAX_EACH, max(POOL // len(fields.classes), 1))
            images, labels = recombiner.make_pool(fields.classes, each, rng)
        characters = "".join(sorted(recombiner.characters))
        if any(train.texts) and not characters:
            print(
                f"note: in real={folder} no text is seen to change within {MAX_GAP:g} s, so no texts are put together:"
                " classes that it does not show are learned from synthetic crops alone",
                file=sys.stderr,
            )
    val, test = (_on_device(parts[name], size, device) for name in ("val", "test"))
    return RealData(train, (images, labels), val, test, characters)


def _on_device(crops: RealCrops, size: tuple[int, int], device: torch.device) -> DeviceSplit:
    return DeviceSplit(as_tensor(crops.scale(size)).to(device), torch.from_numpy(crops.labels).to(device))


class MixedSource:
    """The images of `source`, of which `share` are replaced by variations of real crops of the same class.

    For a class, half of these are crops of the footage and half recombined ones, where there are both. Classes without
    any keep the images of `source`. Of several fields, all have to be the same. The images of an epoch depend on
    `seed`, epoch and batch alone.
    """

    def __init__(self, source: Source, real: RealData, share: float, seed: int):
        self._source, self._share, self._seed = source, share, seed
        pools = (real.train.images, real.train.labels), real.recombined
        self._kinds = [(images, _find_answers(labels)) for images, labels in pools]
        self.size = source.size
        self._kept: tuple[Labels, Labels] | None = None  # the labels of an epoch, and the same on the CPU

    @property
    def labels(self) -> Labels:
        """See `Source`."""
        return self._source.labels

    def labels_of(self, epoch: int) -> Labels:
        """See `Source`."""
        return self._source.labels_of(epoch)

    def _cpu_labels(self, epoch: int) -> Labels:
        labels = self._source.labels_of(epoch)
        if self._kept is None or self._kept[0] is not labels:
            self._kept = labels, labels.cpu()
        return self._kept[1]

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """See `Source`."""
        return self._source.windows(epoch)

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """See `Source`. What replaces images is drawn for whole batches, so that `rows` of them get the same."""
        rows = [slice(0, len(batch)) for batch in batches] if rows is None else rows
        waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
        with ThreadPoolExecutor(1) as executor:
            coming = iter(zip(batches, rows, strict=True))
            try:
                for images in self._source.batches(epoch, batches, rows):
                    for batch, of in islice(coming, AHEAD + 1 - len(waiting)):
                        waiting.append(executor.submit(self._draw, epoch, batch, of))
                    places, real = waiting.popleft().result()
                    if len(places):
                        images = images.clone()  # noqa: PLW2901, it may be a view of the source's
                        images[places.to(images.device)] = real.to(images.device)
                    yield images
            finally:  # also where training stops within an epoch
                executor.shutdown(cancel_futures=True)

    def _draw(self, epoch: int, batch: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Which images of the `rows` of a batch (b,) are replaced, int64 (m,) from their first, and by what, uint8
        (m, H, W, 3)."""
        answers = _list_answers(self._cpu_labels(epoch)[batch].numpy())
        known = torch.tensor([any(answer in kind for _, kind in self._kinds) for answer in answers])
        rng = np.random.default_rng([self._seed, epoch, int(batch[0]), len(batch)])
        replaced = torch.from_numpy(rng.random(len(batch)) < self._share) & known
        places = replaced.nonzero().squeeze(1)
        chosen = [self._choose(answers[place], rng) for place in places.tolist()]
        varied = torch.from_numpy(vary(chosen, self.size, rng) if chosen else np.empty((0, *self.size, 3), np.uint8))
        within = (places >= rows.start) & (places < rows.stop)
        return places[within] - rows.start, varied[within]

    def _choose(self, answer: Answer, rng: np.random.Generator) -> U8:
        """A crop with an answer, of a random one of the kinds that have it."""
        kinds = [(images, kind[answer]) for images, kind in self._kinds if answer in kind]
        images, indices = kinds[rng.integers(len(kinds))]
        crop: U8 = images[indices[rng.integers(len(indices))]]
        return crop


def _list_answers(labels: NDArray[np.int64]) -> list[Answer]:
    """The answer of each row of labels (n,), or (n, m)."""
    return [tuple(row) if isinstance(row, list) else row for row in labels.tolist()]


def _find_answers(labels: NDArray[np.int64]) -> dict[Answer, list[int]]:
    """The indices of each answer."""
    found = defaultdict[Answer, list[int]](list)
    for index, answer in enumerate(_list_answers(labels)):
        found[answer].append(index)
    return dict(found)


def describe_real(real: RealData, share: float, fields: LabelFields) -> dict[str, Any]:
    """The entry `real` of result.json: how many crops there were of what, and which classes had none."""
    shown, made = (_count_classes(labels, fields) for labels in (real.train.labels, real.recombined[1]))
    return {
        "share": share,
        "train": len(real.train),
        "val": len(real.val.labels),
        "test": len(real.test.labels),
        "recombined": len(real.recombined[1]),
        "characters": real.characters,
        "classes_shown": int((shown > 0).sum()),
        "classes_recombined": int(((shown == 0) & (made > 0)).sum()),
        "classes_synthetic_only": [name for name, a, b in zip(fields.classes, shown, made, strict=True) if not a + b],
    }


def _count_classes(labels: NDArray[np.int64], fields: LabelFields) -> NDArray[np.int64]:
    """The number of crops of each class of each field, in the order of `fields.classes`."""
    columns = labels.reshape(len(labels), len(fields.fields)).T
    counts = [np.bincount(column, minlength=size) for column, size in zip(columns, fields.sizes, strict=True)]
    return np.concatenate(counts)
