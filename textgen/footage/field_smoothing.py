"""The most likely sequence of the answers of a network for several fields: fields of a clock carry over.

The minutes of M:SS change where the seconds begin again. So the fields of a clock are smoothed as one, whose classes
are all times that they can show, if there are not too many; every other clock or counter is smoothed by itself.
Whether a frame is "other" is asked of all fields together, in each of these sequences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textgen.common.array_types import F32
from textgen.footage.smoothing import LAG, Kind, Smoother
from textgen.spec.field_scores import best_values, choose, choose_values, score_other
from textgen.spec.label_fields import LabelFields
from textgen.spec.values import OTHER

MOST_TIMES = 8192  # of the fields of a clock together; the search takes time and memory in proportion


@dataclass(frozen=True)
class _Group:
    """Fields that are smoothed as one. `values` (k, fields) are the classes of each of its k answers, "other" last."""

    columns: tuple[int, ...]
    values: NDArray[np.int64]
    smoother: Smoother


class FieldsSmoother:
    """`Smoother` for the answers of a network: `kinds` has one for each field.

    Of one field it is that field's `Smoother`. `push` and `finish` return labels int64 (n,), or (n, m) of m fields.
    """

    def __init__(self, fields: LabelFields, kinds: Sequence[Kind], lag: int = LAG) -> None:
        if len(kinds) != len(fields.fields):
            raise ValueError(f"{len(kinds)} kinds of counters for {len(fields.fields)} fields")
        self._fields = fields
        self._groups = [_make_group(fields, columns, kinds, lag) for columns in _divide(fields, kinds)]
        self._waiting = [np.empty((0, len(group.columns)), np.int64) for group in self._groups]
        self._single = np.empty((0, len(fields.fields)), np.int64)  # answers for each frame by itself that are waiting

    def push(self, log_likelihoods: ArrayLike, times: ArrayLike) -> NDArray[np.int64]:
        """Take the next frames, (n, k) of the classes of all fields, and return what is decided now."""
        scores = np.asarray(log_likelihoods, np.float32)
        if self._fields.is_single:
            return self._groups[0].smoother.push(scores, times)
        if not self._groups:
            return choose(scores, self._fields)
        self._single = np.concatenate([self._single, choose_values(scores, self._fields)])
        for number, group in enumerate(self._groups):
            self._add(number, group.smoother.push(self._scores_of(group, scores), times))
        return self._take()

    def finish(self) -> NDArray[np.int64]:
        """Return the labels of the frames that are still open; the smoother can then take another stream."""
        if self._fields.is_single:
            return self._groups[0].smoother.finish()
        for number, group in enumerate(self._groups):
            self._add(number, group.smoother.finish())
        return self._take()

    def _scores_of(self, group: _Group, scores: F32) -> F32:
        """The scores of each of the group's answers, with the best values of the other fields, (n, k)."""
        fields = self._fields
        parts = [scores[:, fields.slices[column]] for column in group.columns]
        total = parts[0][:, group.values[:, 0]]
        for part, values in zip(parts[1:], group.values.T[1:], strict=True):
            total = total + part[:, values]
        if fields.has_other:
            others = [column for column in range(len(fields.fields)) if column not in group.columns]
            if others:  # not for a whole clock, whose classes are many
                total[:, :-1] += best_values(scores, fields)[:, others].sum(1, keepdims=True)
            total[:, -1] = score_other(scores, fields).sum(1)
        return np.asarray(total, np.float32)

    def _add(self, number: int, decided: NDArray[np.int64]) -> None:
        values = self._groups[number].values[decided]
        self._waiting[number] = np.concatenate([self._waiting[number], values])

    def _take(self) -> NDArray[np.int64]:
        """The answers to frames of which all groups are decided: "other" in all fields if it is in a smoothed one."""
        count = min(map(len, self._waiting), default=0)
        labels, self._single = self._single[:count].copy(), self._single[count:]
        for number, group in enumerate(self._groups):
            labels[:, group.columns] = self._waiting[number][:count]
            self._waiting[number] = self._waiting[number][count:]
        if self._fields.has_other:
            other = np.array(self._fields.sizes) - 1
            labels[(labels == other).any(1)] = other
        return labels

    def save(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs, see `Smoother.save`."""
        if self._fields.is_single:
            return self._groups[0].smoother.save()
        arrays: dict[str, NDArray[Any]] = {"single": self._single}
        for number, group in enumerate(self._groups):
            arrays[f"{number}/waiting"] = self._waiting[number]
            arrays |= {f"{number}/{name}": array for name, array in group.smoother.save().items()}
        return arrays

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where a smoother of the same fields, kinds and lag was when it was saved."""
        if self._fields.is_single:
            self._groups[0].smoother.restore(saved)
            return
        self._single = saved["single"]
        for number, group in enumerate(self._groups):
            prefix = f"{number}/"
            own = {name.removeprefix(prefix): of for name, of in saved.items() if name.startswith(prefix)}
            self._waiting[number] = own.pop("waiting")
            group.smoother.restore(own)


def _divide(fields: LabelFields, kinds: Sequence[Kind]) -> list[tuple[int, ...]]:
    """The columns of each group: the fields of a clock in one, as many of the last ones as there is room for.

    Of several fields, those of kind "none" are in no group.
    """
    if fields.is_single:
        return [(0,)]
    clock: list[int] = []
    times = 1
    for column in reversed(range(len(kinds))):
        values = _numbers(fields, column)
        if kinds[column] != "clock" or values is None or (clock and not _has_colon_between(fields, column, clock[0])):
            continue
        times *= len(values)
        if times > MOST_TIMES:
            break
        clock.insert(0, column)
    whole = [tuple(clock)] if len(clock) > 1 else []
    return [*whole, *((n,) for n, kind in enumerate(kinds) if kind != "none" and not (whole and n in clock))]


def _has_colon_between(fields: LabelFields, left: int, right: int) -> bool:
    """Whether a text is known to show two fields with nothing but a colon between."""
    items = [item if isinstance(item, str) else item.get("field") for item in fields.pattern or ()]
    return any(items[at : at + 3] == [left, ":", right] for at in range(len(items) - 2))


def _make_group(fields: LabelFields, columns: tuple[int, ...], kinds: Sequence[Kind], lag: int) -> _Group:
    if len(columns) == 1:
        classes = fields.fields[columns[0]].classes
        return _Group(columns, np.arange(len(classes))[:, None], Smoother(classes, kinds[columns[0]], lag))
    values = _list_values(fields, columns)
    names = [str(number) for number in range(len(values))]
    if fields.has_other:
        values = np.concatenate([values, [[fields.sizes[column] - 1 for column in columns]]])
        names.append(OTHER)
    return _Group(columns, values, Smoother(names, "clock", lag))


def _list_values(fields: LabelFields, columns: Sequence[int]) -> NDArray[np.int64]:
    """The classes (k, fields) of all k times that the fields of a clock can show, in order."""
    numbers = [_numbers(fields, column) or [] for column in columns]
    values = np.stack(np.meshgrid(*(np.arange(len(of)) for of in numbers), indexing="ij"), -1).reshape(-1, len(columns))
    time = np.zeros(len(values), np.int64)
    for place, of in enumerate(numbers):  # a field counts on when the next one begins again
        time = time * (max(of) + 1) + np.array(of)[values[:, place]]
    return np.asarray(values[np.argsort(time)], np.int64)


def list_times(fields: LabelFields, kinds: Sequence[Kind]) -> tuple[str, ...] | None:
    """The texts of all times of a clock in order, then "other" if it is a class: classes for `Smoother`.

    None if the fields are not those of one clock, or can show more times than `MOST_TIMES`.

    >>> from textgen.spec.label_fields import LabelField
    >>> fields = LabelField("M", ("0", "1")), LabelField("S", ("00", "30"))
    >>> list_times(LabelFields(fields, ({"field": 0}, ":", {"field": 1})), ["clock", "clock"])
    ('0:00', '0:30', '1:00', '1:30')
    """
    columns = next(iter(_divide(fields, kinds)), ())
    if len(columns) < max(len(kinds), 2):
        return None
    texts = [fields.name_of(row) for row in _list_values(fields, columns).tolist()]
    return (*texts, OTHER) if fields.has_other else tuple(texts)


def _numbers(fields: LabelFields, column: int) -> list[int] | None:
    """The values of a field as numbers; None if some are none, or the same."""
    names = [name for name in fields.fields[column].classes if name != OTHER]
    if not all(re.fullmatch("[0-9]{1,6}", name) for name in names) or len({*map(int, names)}) < len(names):
        return None
    return [int(name) for name in names]
