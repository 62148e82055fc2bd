"""Crops of texts that the footage does not show, put together from the characters of labelled crops.

Twenty seconds of a clock show a third of its values, but each digit. A crop of another value is a real crop in which
the columns of some characters come from other crops: copy-paste augmentation (Ghiasi et al., 2021) for characters.
Font, outline, background and compression are those of the footage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32, U8
from textgen.real.characters import Columns, Place, find_characters
from textgen.real.crops import RealCrops
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

DONORS = 24  # crops compared for each character that is copied
MIN_COVERED = 0.6  # of a character's columns that a donor must have
SEARCHED = 4  # columns, in which the distance of two places is refined
AVERAGED = 30  # crops in a mean picture of a character
TRIES = 6  # texts drawn for each crop
FEATHER = np.array([0.5], np.float32)  # weight of the copy in its outermost column


class Recombiner:
    """Makes crops of other texts from `crops`, of a game with `spec`.

    `characters` are those that can be placed, `places` where; both are empty for crops whose texts never change.
    """

    def __init__(self, crops: RealCrops, spec: Spec):
        self._images, self._spec = crops.images, spec
        self._texts = crops.texts
        self.places = find_characters(crops.images, crops.texts, crops.times)
        lengths = {place.length for place in self.places}
        self._bases = np.array([i for i, text in enumerate(crops.texts) if len(text) in lengths], np.int64)
        self._donors: dict[str, list[tuple[int, Place]]] = defaultdict(list)
        for i in self._bases:
            for place in self.places:
                if len(crops.texts[i]) == place.length:
                    self._donors[crops.texts[i][place.position]].append((int(i), place))
        self._bases_of = {
            length: self._bases[[len(crops.texts[i]) == length for i in self._bases]] for length in sorted(lengths)
        }
        means = {place: self._average_characters(place) for place in self.places}
        self._shifts = {(a, b): self._measure_shift(a, b, means) for a in self.places for b in self.places}

    @property
    def characters(self) -> frozenset[str]:
        return frozenset(self._donors)

    def make_pool(self, classes: Sequence[str], each: int, rng: np.random.Generator) -> tuple[U8, NDArray[np.int64]]:
        """Crops uint8 (m, H, W, 3) and their labels (m,): up to `each` of every class that can be put together."""
        images, labels = [], []
        for label, name in enumerate(classes):
            for _ in range(each if name != OTHER and self.places else 0):
                made = self._make_of_class(name, rng)
                if made is None:
                    break  # its characters are not there, so further tries would fail as well
                images.append(made)
                labels.append(label)
        shape = self._images.shape[1:]
        return np.stack(images) if images else np.empty((0, *shape), np.uint8), np.array(labels, np.int64)

    def make_texts(self, count: int, rng: np.random.Generator) -> tuple[U8, NDArray[np.int64]]:
        """Up to `count` crops uint8 (m, H, W, 3) of random texts, and their labels (m, fields)."""
        images, labels = [], []
        for _ in range(count if self.places else 0):
            made = self._make_like(self._spec.sample({}, rng), rng)
            if made is not None:
                images.append(made[0])
                labels.append(made[1])
        shape, fields = self._images.shape[1:], self._spec.fields
        found = np.array(labels, np.int64).reshape(len(labels), len(fields.fields))
        pictures = np.stack(images) if images else np.empty((0, *shape), np.uint8)
        return pictures, found[:, 0] if fields.is_single else found

    def _make_like(self, text: str, rng: np.random.Generator) -> tuple[U8, tuple[int, ...]] | None:
        """A crop that shows `text`, as far as its characters have places, and its labels; None if it cannot be made."""
        if len(text) not in self._bases_of:
            return None
        base = int(rng.choice(self._bases_of[len(text)]))
        shown = self._adapt_text(text, self._texts[base])
        labels, none = self._spec.labels_of(shown), self._spec.labels_of("")
        made = None if labels == none else self.make(base, shown, rng)
        return None if made is None else (made, labels)

    def _make_of_class(self, name: str, rng: np.random.Generator) -> U8 | None:
        for _ in range(TRIES):
            base = int(rng.choice(self._bases))
            text = self._spec.sample(name, rng)
            if len(text) not in self._bases_of:
                continue
            if len(text) != len(self._texts[base]):
                base = int(rng.choice(self._bases_of[len(text)]))
            text = self._adapt_text(text, self._texts[base])
            if self._spec.answer_of(text) == name:
                made = self.make(base, text, rng)
                if made is not None:
                    return made
        return None

    def _adapt_text(self, text: str, shown: str) -> str:
        """`text` with the characters of `shown`, of the same length, where those have no place."""
        there = [Place(len(text), position) in self.places for position in range(len(text))]
        return "".join(new if free else old for new, old, free in zip(text, shown, there, strict=True))

    def make(self, base: int, text: str, rng: np.random.Generator) -> U8 | None:
        """Crop number `base` with another `text` of the same length; None if its characters are not there."""
        picture = self._images[base].astype(np.float32)
        for position, (new, old) in enumerate(zip(text, self._texts[base], strict=True)):
            if new != old:
                place = Place(len(text), position)
                if place not in self.places or not self._copy(picture, place, self._donors.get(new, []), rng):
                    return None
        return np.asarray(picture.round().clip(0, 255), np.uint8)

    def _copy(self, picture: F32, place: Place, donors: Sequence[tuple[int, Place]], rng: np.random.Generator) -> bool:
        """Copy a character of one of `donors` to `place` of a picture (H, W, 3): the one whose edges fit best."""
        own, width = self.places[place], picture.shape[1]
        best: tuple[float, Columns, F32] | None = None
        for number in rng.integers(len(donors), size=DONORS) if donors else ():
            donor, source = donors[number]
            shift = self._shifts[source, place]
            left, right = max(own.left, shift), min(own.right, width + shift)
            if right - left < MIN_COVERED * (own.right - own.left):
                continue
            patch = self._images[donor][:, left - shift : right - shift].astype(np.float32)
            edges = (patch[:, 0] - picture[:, left], patch[:, -1] - picture[:, right - 1])
            missing = (own.right - own.left) - (right - left)
            cost = float(sum(np.abs(edge).mean() for edge in edges)) + 10.0 * missing
            if best is None or cost < best[0]:
                best = cost, Columns(left, right), patch
        if best is None:
            return False
        _, (left, right), patch = best
        if left > own.left:  # the donor's crop ends within the character: what is left of the old one is painted over
            picture[:, own.left : left] = picture[:, max(own.left - 1, 0), None]
        if right < own.right:
            picture[:, right : own.right] = picture[:, min(own.right, width - 1), None]
        weights = np.ones(right - left, np.float32)
        if len(weights) > 3 * len(FEATHER):
            if left > 0:
                weights[: len(FEATHER)] = FEATHER
            if right < width:
                weights[-len(FEATHER) :] = FEATHER[::-1]
        inside = picture[:, left:right]
        inside += weights[None, :, None] * (patch - inside)
        return True

    def _measure_shift(self, source: Place, target: Place, means: Mapping[Place, Mapping[str, F32]]) -> int:
        """How many columns a character at `source` has to move to the right to stand at `target`."""
        if source == target:
            return 0
        guess = round(self.places[target].center - self.places[source].center)
        width, columns = self._images.shape[2], self.places[source]
        pairs = [(a, means[target][c]) for c, a in means[source].items() if c in means[target]]
        costs = {}
        for shift in range(guess - SEARCHED, guess + SEARCHED + 1):
            left, right = max(columns.left, -shift, 0), min(columns.right, width - shift, width)
            if pairs and right - left >= MIN_COVERED * (columns.right - columns.left):
                costs[shift] = np.mean(
                    [np.abs(a[:, left:right] - b[:, left + shift : right + shift]).mean() for a, b in pairs]
                )
        return min(costs, key=costs.__getitem__) if costs else guess

    def _average_characters(self, place: Place) -> dict[str, F32]:
        """The mean picture (H, W, 3) of crops with each character at `place`, in the order of the characters."""
        shown: dict[str, list[int]] = defaultdict(list)
        for i, text in enumerate(self._texts):
            if len(text) == place.length:
                shown[text[place.position]].append(i)
        return {
            character: self._images[of[:: len(of) // AVERAGED + 1]].mean(0, dtype=np.float32)
            for character, of in sorted(shown.items())
        }
