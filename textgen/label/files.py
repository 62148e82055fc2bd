"""Label a folder of crops and write its tables and its page: what the commands label and adapt share."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from textgen.common.atomic import file_lock, os_errors_as_user_errors, write_atomic
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.dataset.labels_file import read_labels
from textgen.footage.sequence import open_sequence
from textgen.footage.smoothing import Kind
from textgen.label.corrections import read_corrections
from textgen.label.labelling import ADVICE, DOUBTFUL, LABELS, Labelling, label_crops, write_labelling
from textgen.label.page import render_page
from textgen.label.readers import Reader, ReaderSettings, make_reader
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

PAGE = "labels.html"
FROM_FILE = "file"


@dataclass(frozen=True)
class Request:
    """What is labelled and how: the settings of conf/label.yaml, and title and command for the page."""

    crops: Path
    region: str | None
    reader: str
    run: Path | None
    file: Path | None
    kind: Kind | None
    corrections: Path | None
    threads: int
    page: bool
    title: str
    command: str


@dataclass(frozen=True)
class Labelled:
    """A labelling, the files that were written, and one line about it."""

    labelling: Labelling
    files: tuple[Path, ...]
    summary: str


def label_folder(request: Request, spec: Spec) -> Labelled:
    """Label the crops of a folder, and write labels.csv, doubtful.csv and the page. Raises `UserError`.

    Another process that labels them is waited for, so that all three are of one command.
    """
    folder = open_sequence(request.crops, request.region).folder
    with ExitStack() as stack:
        with os_errors_as_user_errors(folder, ADVICE):
            lock = file_lock(folder / ".labels.lock", f"another process labels crops in {folder}", remove=True)
            stack.enter_context(lock)
        return _label_folder(request, spec)


def _label_folder(request: Request, spec: Spec) -> Labelled:
    sequence = open_sequence(request.crops, request.region)
    _check_labels_are_ours(sequence.folder, request)
    count = len(sequence.rows)
    corrections = read_corrections(request.corrections) if request.corrections else {}
    reader = _make_reader(request, spec)
    begin = time.perf_counter()
    with progress_bar(count, f"read by {request.reader}") as bar:
        labelling = label_crops(
            request.crops,
            spec,
            reader,
            region=request.region,
            kind=request.kind,
            corrections=corrections,
            progress=bar.update,
        )
    files = [*write_labelling(labelling)]
    if request.page:
        page = render_page(
            labelling, () if spec.is_joint else spec.classes, corrections, request.title, request.command
        )
        files.append(labelling.folder / PAGE)
        write_atomic(files[-1], page.encode("utf-8", "xmlcharrefreplace"), ADVICE)
    return Labelled(
        labelling,
        tuple(files),
        describe(labelling, 0 if spec.is_joint else len(spec.classes), time.perf_counter() - begin),
    )


def _check_labels_are_ours(folder: Path, request: Request) -> None:
    """Raise `UserError` if the folder holds labels.csv without the table that this command writes beside it."""
    labels = folder / LABELS
    if labels.exists() and not (folder / DOUBTFUL).exists() and labels != request.file:
        raise UserError(
            f"{labels} is not from this command and would be overwritten: move it, and give it as reader=file file=…"
        )


def _make_reader(request: Request, spec: Spec) -> Reader | dict[str, str]:
    if request.file is None:
        return make_reader(request.reader, ReaderSettings(spec, request.threads, request.run))
    if request.run is not None:
        raise UserError(f"run={request.run}: reader=file takes no run; leave it out")
    return {line.name: "" if line.text in (None, OTHER) else str(line.text) for line in read_labels(request.file)}


def describe(labelling: Labelling, classes: int, seconds: float) -> str:
    """One line about a labelling of a game with so many classes; 0 of one whose answers are texts of several fields."""
    labels, doubtful = len(labelling.labels), len(labelling.doubtful)
    corrected = sum(label.corrected for label in labelling.labels)
    parts = [f"{labels:,} of {labels + doubtful + len(labelling.left_out):,} crops have a label"]
    if corrected:
        parts.append(f"{corrected:,} of them another one than was read")
    parts.append(f"{doubtful:,} are doubtful")
    if labelling.left_out:
        parts.append(f"{len(labelling.left_out):,} are left out")
    found = len(labelling.count_classes())
    shown = f"{found} of {classes} classes" if classes else f"{found} different texts"
    parts.append(shown if labelling.kind == "none" else f"{shown}, taken for a {labelling.kind}")
    return f"{', '.join(parts)}; {labelling.distinct:,} different crops, {seconds:.1f} s"
