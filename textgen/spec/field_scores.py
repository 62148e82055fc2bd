"""Answers for several fields, from the probabilities of their classes: all of them are "other", or none.

`scores` (n, k) are logarithms of the probabilities of the classes of each field, as `LabelFields.slices` divides them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32
from textgen.spec.label_fields import LabelFields


def choose(scores: F32, fields: LabelFields) -> NDArray[np.int64]:
    """The most probable labels of n crops, int64 (n,), or (n, m): "other" is the class of all fields or of none.

    The fields' probabilities are multiplied: a crop is "other" if the product of the probabilities of "other" is larger
    than that of the best values. Of one field, `scores` may be logits.
    """
    if fields.is_single:
        return np.asarray(scores.argmax(1), np.int64)
    values = choose_values(scores, fields)
    if not fields.has_other:
        return values
    is_other = score_other(scores, fields).sum(1) > best_values(scores, fields).sum(1)
    return np.where(is_other[:, None], np.array(fields.sizes) - 1, values)


def choose_values(scores: F32, fields: LabelFields) -> NDArray[np.int64]:
    """The most probable class of every field by itself but "other", int64 (n, m)."""
    return np.stack([scores[:, of].argmax(1) for of in _values(fields)], 1).astype(np.int64)


def best_values(scores: F32, fields: LabelFields) -> F32:
    """The score of the most probable class of every field but "other", (n, m)."""
    return np.stack([scores[:, of].max(1) for of in _values(fields)], 1)


def score_other(scores: F32, fields: LabelFields) -> F32:
    """The logarithm of the probability of "other" in each field, (n, m)."""
    return scores[:, [of.stop - 1 for of in fields.slices]]


def score_shown(scores: F32, fields: LabelFields) -> F32:
    """The logarithm of the probability of any class but "other" in each field, (n, m).

    1 - p("other") would be 0 in float32 where "other" is nearly certain.
    """
    return np.stack([np.logaddexp.reduce(scores[:, of], axis=1) for of in _values(fields)], 1)


def _values(fields: LabelFields) -> list[slice]:
    """Where the classes of each field are, without "other"."""
    return [slice(of.start, of.stop - fields.has_other) for of in fields.slices]
