"""Label the crops of a folder: what the command does, for use from Python."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textgen.common.atomic import file_lock, write_atomic
from textgen.common.characters import breaks_line
from textgen.common.errors import UserError
from textgen.footage.field_smoothing import list_times
from textgen.footage.index import IndexRow
from textgen.footage.sequence import open_sequence
from textgen.footage.smoothing import Kind, guess_kinds
from textgen.label.corrections import Correction
from textgen.label.decide import Decision, Evidence, decide, find_match
from textgen.label.distinct import FILE, ReadingCache, read_distinct
from textgen.label.matching import Match, Matcher
from textgen.label.readers import Reader, Reading
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

LABELS, DOUBTFUL = "labels.csv", "doubtful.csv"
ADVICE = "another folder with crops=…"


@dataclass(frozen=True)
class Label:
    """A crop with its text (empty: no counter is shown) and class; `corrected`: its reading was another one."""

    file: str
    text: str
    label: str
    frame: int
    time: float
    confidence: float
    corrected: bool = False


@dataclass(frozen=True)
class Doubt:
    """A crop without a label: what was read, how confidently, and why that is not enough."""

    file: str
    text: str
    frame: int
    time: float
    confidence: float
    reason: str


@dataclass(frozen=True)
class Labelling:
    """The crops of a region, in the order of time, each in one of the first three.

    Attributes:
        labels: crops with a label.
        doubtful: crops without one.
        left_out: files that the user left out.
        folder: what the paths of files are relative to.
        kind: what the labels were taken for.
        distinct: how many different crops there are.
    """

    labels: tuple[Label, ...]
    doubtful: tuple[Doubt, ...]
    left_out: tuple[str, ...]
    folder: Path
    kind: Kind
    distinct: int

    def count_classes(self) -> Counter[str]:
        """How many labels each class has."""
        return Counter(label.label for label in self.labels)


def label_crops(
    crops: Path,
    spec: Spec,
    reader: Reader | Mapping[str, str],
    *,
    region: str | None = None,
    kind: Kind | None = None,
    corrections: Mapping[str, Correction] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Labelling:
    """Label the crops of `region` in the folder `crops`, by their texts as `reader` finds them.

    `reader` is one of `textgen.label.readers`, or maps files to their texts. `kind` is what the label does over time,
    by default as `guess_kinds` has it; several fields are a clock if all are those of one, else a counter. Pictures
    without an index have no order and are read each by itself. `corrections` go before readings. `progress` is called
    with numbers of crops that are done. A reader's readings are kept in `crops`/readings.jsonl; nothing else is
    written. Raises `UserError`.
    """
    sequence = open_sequence(crops, region)
    kind = _choose_kind(spec, kind) if sequence.in_order else "none"
    matcher = Matcher(spec)
    fixed = _find_corrections(corrections or {}, sequence.rows, matcher)
    groups: list[tuple[tuple[int, ...], Reading | None]]
    if isinstance(reader, Mapping):
        texts = [reader.get(row.file) for row in sequence.rows]
        groups = [((at,), None if text is None else Reading(text, 1.0)) for at, text in enumerate(texts)]
    else:
        with file_lock(crops / ".readings.lock", f"another process labels crops in {crops}"):
            cache = ReadingCache(crops / FILE, reader.name)
            distinct, readings = read_distinct(sequence.files, reader, cache, progress)
        groups = [(one.rows, reading) for one, reading in zip(distinct, readings, strict=True)]
    evidence = _weigh(groups, sequence.rows, fixed, matcher)
    decisions = decide([crop for _, crop in evidence], _list_answers([crop for _, crop in evidence], spec, kind), kind)
    labels: list[tuple[int, Label]] = []
    doubtful: list[tuple[int, Doubt]] = []
    for (group, crop), decision in zip(evidence, decisions, strict=True):
        for at in group:
            if decision.match is not None:
                labels.append((at, _make_label(sequence.rows[at], crop, decision, decision.match)))
            else:
                doubtful.append((at, _make_doubt(sequence.rows[at], crop, decision)))
    return Labelling(
        tuple(label for _, label in sorted(labels, key=lambda pair: pair[0])),
        tuple(doubt for _, doubt in sorted(doubtful, key=lambda pair: pair[0])),
        tuple(file for file, match in fixed.items() if match is None),
        sequence.folder,
        kind,
        len(groups),
    )


def _choose_kind(spec: Spec, given: Kind | None) -> Kind:
    """Raises `UserError` for a clock of several fields that has no list of times."""
    if not spec.is_joint:
        return given or guess_kinds(spec)[0]
    if given in ("counter", "none"):
        return given
    if list_times(spec.fields, guess_kinds(spec)):
        return "clock"
    if given == "clock":
        raise UserError(
            f"kind=clock: {', '.join(spec.fields.names)} are not the fields of one clock, or it has too many times:"
            " give kind=counter"
        )
    return "counter"


def _list_answers(crops: Sequence[Evidence], spec: Spec, kind: Kind) -> tuple[str, ...]:
    """The classes that crops can have: those of the spec; of several fields all times of a clock, or the texts read."""
    if not spec.is_joint:
        return spec.classes
    if kind == "clock" and (times := list_times(spec.fields, guess_kinds(spec))):
        return times
    return (*sorted({crop.match.label for crop in crops if crop.match} - {OTHER}), OTHER)


def write_labelling(labelling: Labelling) -> tuple[Path, Path]:
    """Write labels.csv (file, text) and doubtful.csv (file, text, confidence, reason) into the folder of the crops.

    The text of a crop without a counter is "other", as in all labels files.
    """
    labels = [(label.file, label.text or OTHER) for label in labelling.labels]
    doubtful = [(d.file, _one_line(d.text), f"{d.confidence:.3f}", _one_line(d.reason)) for d in labelling.doubtful]
    paths = labelling.folder / LABELS, labelling.folder / DOUBTFUL
    write_atomic(paths[1], format_csv(("file", "text", "confidence", "reason"), doubtful), ADVICE)
    write_atomic(paths[0], format_csv(("file", "text"), labels), ADVICE)
    return paths


def format_csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """A table as CSV in UTF-8."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue().encode("utf-8", "replace")


def _find_corrections(
    corrections: Mapping[str, Correction], rows: Sequence[IndexRow], matcher: Matcher
) -> dict[str, Match | None]:
    """What the user says of crops; None for those that are left out."""
    files = {row.file for row in rows}
    for file, correction in corrections.items():
        if file not in files:
            raise UserError(f"{correction.where} names {file!r}, which is none of these crops: remove the line")
    return {file: correction.find_match(matcher) for file, correction in corrections.items()}


def _weigh(
    groups: Sequence[tuple[tuple[int, ...], Reading | None]],
    rows: Sequence[IndexRow],
    fixed: Mapping[str, Match | None],
    matcher: Matcher,
) -> list[tuple[list[int], Evidence]]:
    """The evidence for groups of rows with one reading, without those that are left out, in the order of rows."""
    evidence: list[tuple[list[int], Evidence]] = []
    for group, reading in groups:
        rest = [at for at in group if rows[at].file not in fixed]
        for at in group:
            if (given := fixed.get(rows[at].file)) is not None:
                time = rows[at].time
                evidence.append(([at], Evidence(time, time, Reading(given.text, 1.0), given, given=True)))
        if rest and reading is not None:
            time, until = rows[rest[0]].time, rows[rest[-1]].time
            evidence.append((rest, Evidence(time, until, reading, find_match(matcher, reading), len(rest))))
    return sorted(evidence, key=lambda pair: pair[0][0])


def _make_label(row: IndexRow, crop: Evidence, decision: Decision, match: Match) -> Label:
    confidence = crop.reading.confidence
    return Label(row.file, match.text, match.label, row.frame, row.time, confidence, decision.corrected)


def _make_doubt(row: IndexRow, crop: Evidence, decision: Decision) -> Doubt:
    text = crop.reading.text if crop.reading.text is not None else crop.reading.label or ""
    return Doubt(row.file, text, row.frame, row.time, crop.reading.confidence, decision.reason)


def _one_line(text: str) -> str:
    return "".join("\ufffd" if breaks_line(char) else char for char in text)
