"""From the logits of a network to its answers: the class of one field, or of several fields together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32
from textgen.spec.field_scores import choose, score_other, score_shown
from textgen.spec.label_fields import LabelFields

LEAST = np.float32(1e-30)  # in place of a probability of 0, whose logarithm is -inf


class Answers(NamedTuple):
    """What a network says of n crops.

    `labels` are int64 (n,), or (n, m) of m fields; `probability` (n,) is that of the whole answer, `each` (n, m) that
    of the class of every field, and `presence` (n,) that the crop is "other" at all, or is not, as the answer says.
    So some of the fields are right together with the probability presence · Π each / presence.
    """

    labels: NDArray[np.int64]
    probability: F32
    each: F32
    presence: F32


def log_probabilities(logits: NDArray[np.floating[Any]], fields: LabelFields) -> F32:
    """The logarithms of the probabilities of the classes of each field, (n, k), by itself; `logits` are (n, k)."""
    found = np.empty(logits.shape, np.float32)
    for of in fields.slices:
        part = logits[:, of] - logits[:, of].max(1, keepdims=True)
        found[:, of] = part - np.log(np.exp(part).sum(1, keepdims=True))
    return found


def answer(logits: NDArray[np.floating[Any]], fields: LabelFields) -> Answers:
    """The answers for n crops, from logits or logarithms of probabilities (n, k).

    A probability is that among the answers that are possible: those in which all fields are "other", or none.
    """
    return answer_scores(log_probabilities(logits, fields), fields)


def answer_scores(scores: F32, fields: LabelFields) -> Answers:
    """`answer`, from what `log_probabilities` returns."""
    labels = choose(scores, fields)
    if fields.is_single:
        probability = np.exp(scores[np.arange(len(labels)), labels])
        return Answers(labels, probability, probability[:, None], np.ones_like(probability))
    starts = np.array([of.start for of in fields.slices])
    chosen = np.take_along_axis(scores, labels + starts, 1)  # (n, m)
    if not fields.has_other:
        return Answers(labels, np.exp(chosen.sum(1)), np.exp(chosen), np.ones(len(labels), np.float32))
    other, shown = score_other(scores, fields), score_shown(scores, fields)  # (n, m)
    possible = np.logaddexp(other.sum(1), shown.sum(1))
    is_other = labels[:, 0] == fields.sizes[0] - 1
    presence = np.where(is_other, other.sum(1), shown.sum(1)) - possible
    of_values = np.where(is_other[:, None], 0, np.minimum(chosen - shown, 0))  # each, given that it is no "other"
    whole, each = presence + of_values.sum(1), presence[:, None] + of_values
    return Answers(labels, *(np.exp(np.minimum(found, 0)) for found in (whole, each, presence)))


def same(one: Any, two: Any) -> Any:
    """Whether two labels of each of n crops are the same in all fields, (n,); arrays or tensors (n,), or (n, m)."""
    equal = one == two
    return equal if equal.ndim == 1 else equal.all(1)
