"""The page about a labelling: the doubtful crops, then those of each label, to be looked at and corrected by keyboard.

It is one self-contained file of bounded size. Corrections are kept in the browser, and saved as a table that the
command takes as `corrections=…`. The template escapes all texts.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from textgen.common.errors import UserError
from textgen.common.html_templates import load_template
from textgen.common.pictures import read_picture
from textgen.label.corrections import Correction
from textgen.label.labelling import Labelling
from textgen.spec.values import OTHER

MOST_CROPS, MOST_OF_GROUP, LEAST_OF_GROUP = 2000, 300, 4  # on the page, of a label, and of a label if there are many
MOST_GROUPS = 500
WIDTH, HEIGHT = 160, 64  # pixels of a thumbnail
QUALITY = 85  # of JPEG, which takes a tenth of the time of WebP


class Shown(NamedTuple):
    """A crop of the page: its file, its text or reading, whether it has a label, a description, and its picture."""

    file: str
    text: str
    labelled: bool
    about: str
    picture: str


class Group(NamedTuple):
    """Crops with one label, or the doubtful ones: a title, how many there are, and those that are shown."""

    title: str
    total: int
    crops: list[Shown]


def render_page(
    labelling: Labelling, classes: Sequence[str], corrections: Mapping[str, Correction], title: str, command: str
) -> str:
    """Render the page about `labelling` of a game with `classes`; `corrections` are those it was made with."""
    doubtful = [(doubt.file, doubt.text, False, _about(doubt, doubt.reason)) for doubt in labelling.doubtful]
    groups = [("Doubtful", doubtful)] if doubtful else []
    of_class: defaultdict[str, list[tuple[str, str, bool, str]]] = defaultdict(list, {name: [] for name in classes})
    for label in labelling.labels:
        about = _about(label, "another text than was read" if label.corrected else "")
        of_class[label.label].append((label.file, label.text, True, about))
    groups += [("no counter" if name == OTHER else name, crops) for name, crops in of_class.items() if crops]
    each = min(MOST_OF_GROUP, max(LEAST_OF_GROUP, MOST_CROPS // max(len(groups), 1)))
    shown = [
        Group(name, len(crops), [Shown(*crop, _encode(labelling, crop[0])) for crop in _choose(crops, each)])
        for name, crops in groups[:MOST_GROUPS]
    ]
    given = {
        file: {"text": correction.text or "", "out": correction.text is None}
        for file, correction in corrections.items()
    }
    return load_template("textgen.label", "page.html").render(
        title=title,
        command=command,
        labelling=labelling,
        groups=shown,
        left=len(groups) - len(shown),
        given=given,
        identity=hashlib.sha256(f"{labelling.folder.resolve()} {title}".encode()).hexdigest()[:16],
    )


def _about(crop: object, note: str) -> str:
    frame, time, confidence = (getattr(crop, name) for name in ("frame", "time", "confidence"))
    return f"frame {frame}, {time:.2f} s, confidence {confidence:.2f}" + (f": {note}" if note else "")


def _choose(crops: Sequence[tuple[str, str, bool, str]], most: int) -> list[tuple[str, str, bool, str]]:
    """At most so many of the crops, evenly over the whole."""
    if len(crops) <= most:
        return list(crops)
    return [crops[at] for at in np.linspace(0, len(crops) - 1, most).astype(int)]


def _encode(labelling: Labelling, file: str) -> str:
    """The thumbnail of a crop, as base64 of JPEG; empty if the file is gone."""
    try:
        crop = read_picture(labelling.folder / file)
    except UserError:
        return ""
    shrink = min(WIDTH / crop.shape[1], HEIGHT / crop.shape[0], 1)
    if shrink < 1:
        size = max(round(crop.shape[1] * shrink), 1), max(round(crop.shape[0] * shrink), 1)
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    _, data = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return base64.b64encode(data.tobytes()).decode("ascii")
