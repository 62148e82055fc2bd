"""One HTML page about a game: what it is, its crops by class, font, background and style, what was refused, the checks.

Everything is in the one file, and nothing is fetched. Whatever a user wrote is escaped.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from string import Template
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.arrays import U8
from textgen.common.errors import UserError
from textgen.common.markup import bars, cell, cut, esc, histogram, listed, span, table, tenths
from textgen.kernels import tables
from textgen.lint.checks import OK, Check
from textgen.lint.main import Report
from textgen.preview.contact_sheet import strip
from textgen.render.renderer import SPLITS, UNSEEN_BACKGROUNDS, UNSEEN_FONTS, RenderedCrops, Renderer
from textgen.schema.definition import DatasetDefinition

SAMPLES = 2000  # looked at, at least, for figures, fonts, backgrounds and styles
UNSEEN = 300  # of each test set of held-out assets
MAX_BYTES = 256 << 20  # of all crops looked at, beyond those of the sheet
# A crop's pixel takes about 2.9 bytes of the page.
CLASSES, GROUPS = 640_000, 300_000  # pixels in the crops by class, and in those of each other section
MAX_PIXELS = 15_000  # of one crop; larger ones are scaled down
MAX_ROWS, IN_A_ROW = 200, 40
EXTREMES = 36  # crops that narrowly passed or failed
CHECK_ROWS = 20  # of a table of a check
PER_STRIP = 24
WIDEST, NARROW = 480, 110  # pixels on the screen that a crop has at first, and on that of a phone


class Lot(NamedTuple):
    """Crops of one split."""

    split: str
    crops: RenderedCrops


@dataclass(frozen=True)
class View:
    """What a page shows. `refused` are first tries of samples of `shown`; `trouble` is why something is not there."""

    definition: DatasetDefinition
    renderer: Renderer
    shown: Lot
    refused: Lot
    unseen: list[Lot]  # of test sets of held-out assets
    drawn: int  # samples that were tried
    each: int
    zoom: int
    command: str
    settings: str  # the definition, in YAML
    report: Report | None = None
    trouble: str = ""

    @cached_property
    def canvases(self) -> list[list[str]]:
        """Names of all canvases by source."""
        return self.renderer.backgrounds.names()


def look(
    definition: DatasetDefinition, renderer: Renderer, split: str, each: int, zoom: int, command: str, settings: str
) -> View:
    """Draw what a page shows: at least `each` crops of every class of a split. A page of a game whose texts cannot be
    drawn holds what was refused."""
    height, width = definition.game.size
    classes = len(renderer.classes)
    least = min(SAMPLES, MAX_BYTES // (3 * height * width))
    count = max(each, -(-least // classes)) * classes
    trouble = ""
    try:
        crops = renderer.render(split, range(count))
        refused = renderer.refused(split, crops.samples["index"][crops.samples["attempt"] > 0].tolist())
    except UserError as error:
        trouble, count = error.summary, min(count, least)
        crops, refused = renderer.render(split, []), renderer.refused(split, range(count))
    unseen = []
    for name in (UNSEEN_FONTS, UNSEEN_BACKGROUNDS) if not trouble else ():
        if name in renderer.splits and name != split:
            unseen.append(Lot(name, renderer.render(name, range(min(UNSEEN, least)))))
    shown = Lot(split, crops)
    return View(
        definition, renderer, shown, Lot(split, refused), unseen, count, each, zoom, command, settings, trouble=trouble
    )


def page(view: View) -> str:
    """The whole page."""
    album = Album(view)
    sections = [("about", "The game", _about(view))]
    if len(view.shown.crops.labels):
        sections += [
            ("classes", "By class", _by_class(view, album)),
            ("fonts", "By font", _by_font(view, album)),
            ("backgrounds", "By background", _by_background(view, album)),
            ("style", "By style", _by_style(view, album)),
            ("contrast", "Legibility", _legibility(view, album)),
        ]
    sections.append(("refused", "Refused draws", _refused(view, album)))
    sections.append(("checks", "Checks", _checks(view.report)))
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = [_header(view), f'<nav aria-label="Sections">{links}</nav>', CONTROLS, "<main>"]
    body += [f'<section id="{key}"><h2>{title}</h2>\n{inner}\n</section>' for key, title, inner in sections]
    body.append(f"</main>\n<footer><p>Made by <code>{esc(view.command)}</code></p></footer>")
    zoom = max(1, min(view.zoom, WIDEST // album.width))
    template = Template(resources.files("textgen.preview").joinpath("page.html").read_text(encoding="utf-8"))
    game = view.definition.game
    return template.substitute(
        title=esc(f"{game.title} ({game.name})" if game.title else game.name),
        width=album.width,
        height=album.height,
        zoom=zoom,
        small=max(1, min(zoom, max(NARROW // album.width, min(2, 3 * NARROW // album.width)))),
        strips=album.css(),
        body="\n".join(body),
    )


CONTROLS = (
    '<form class="controls" hidden><label>Zoom <input id="zoom" type="range" min="1" max="8" step="1"></label>'
    '<label>Find <input id="search" type="search" placeholder="class, font …"></label>'
    '<span id="found" role="status"></span></form>'
)


class Album:
    """The crops that a page holds, each once, in strips; sections show them as often as they like."""

    def __init__(self, view: View):
        height, width = view.definition.game.size
        self.shrink = int(np.ceil((height * width / MAX_PIXELS) ** 0.5))
        self.height, self.width = height // self.shrink, width // self.shrink
        self.view = view
        self._places: dict[tuple[str, int, int], int] = {}
        self._crops: list[U8] = []

    def crop(self, lot: Lot, row: int) -> str:
        """An element that shows a crop, and in its tooltip all that is known of it."""
        sample = lot.crops.samples[row]
        place = self._places.setdefault((lot.split, int(sample["index"]), int(sample["attempt"])), len(self._crops))
        if place == len(self._crops):
            image = lot.crops.images[row]
            if self.shrink > 1:
                image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            self._crops.append(image)
        number, at = divmod(place, PER_STRIP)
        return f'<i class=s{number} style=--i:{at} title="{esc(_words(self.view, lot, row))}"></i>'

    def css(self) -> str:
        """The strips, as rules for the elements of `crop`."""
        rules = []
        for number, start in enumerate(range(0, len(self._crops), PER_STRIP)):
            crops = self._crops[start : start + PER_STRIP]
            data = base64.b64encode(strip(crops)).decode()
            rules.append(f'.s{number} {{ --l: {len(crops)}; background-image: url("data:image/png;base64,{data}"); }}')
        return "\n".join(rules)


@dataclass
class Group:
    """A row of a section: crops with something in common, by number in `lot`."""

    name: str
    lot: Lot
    rows: Sequence[int]
    note: str = ""
    held_out: bool = False
    more: str = field(default="", repr=False)  # HTML


# ---- The sections.


def _header(view: View) -> str:
    game = view.definition.game
    lead = f"{len(view.renderer.classes)} classes, crops of {game.size[0]}×{game.size[1]} pixels"
    texts = [text for text in dict.fromkeys(view.shown.crops.texts) if text][:3]
    if texts:
        lead += ", texts such as " + ", ".join(f'<span class="text">{esc(text)}</span>' for text in texts)
    head = f'<header><h1>{esc(game.title or game.name)}</h1>\n<p class="lead">{lead}</p>'
    if view.report is not None:
        counts = Counter(check.status for check in view.report.checks)
        said = ", ".join(
            f'<span class="{esc(status.lower())}">{n} {esc(status)}</span>' for status, n in counts.items()
        )
        head += f'\n<p><a href="#checks">Checks</a>: {said}</p>'
    if view.trouble:
        head += f'\n<p class="trouble">{esc(view.trouble)}</p>'
    return head + "</header>"


def _about(view: View) -> str:
    game, renderer = view.definition.game, view.renderer
    fields = "; ".join(
        f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in (game.fields or {}).items()
    )
    classes = listed([f'<span class="text">{esc(name)}</span>' for name in renderer.classes], "classes")
    sources = [f"{background.source} (weight {background.weight:g})" for background in game.backgrounds]
    stream = ", ".join(name for name, value in vars(view.definition.augment).items() if value and name[0] != "_")
    facts = [
        ("Name", f"<code>{esc(game.name)}</code>"),
        ("Spec", f"<code>{esc(game.spec)}</code>"),
        ("Fields", f"<code>{esc(fields)}</code>" if fields else ""),
        ("Label", f"<code>{esc(game.label)}</code>"),
        ("Classes", f"{len(renderer.classes)}: {classes}"),
        ("Size", f"{game.size[0]} × {game.size[1]} pixels, height and width"),
        (
            "Fonts",
            f"{len(renderer.faces)}: " + listed([esc(face.name) for face in renderer.faces], "faces"),
        ),
        ("Backgrounds", listed([esc(source) for source in sources], "sources")),
        ("Stream", esc(stream or "crops as drawn")),
        ("Seed", str(view.definition.seed)),
        ("Shown", f"split <code>{esc(view.shown.split)}</code>"),
        ("Command", f"<code>{esc(view.command)}</code>"),
    ]
    lines = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value)
    images = {split: getattr(game.images, split if split in SPLITS else SPLITS[2]) for split in renderer.splits}
    counts = [(split, f"{n:,}", f"{n * len(renderer.classes):,}") for split, n in images.items()]
    return (
        f'<dl class="facts">{lines}</dl>\n{table(("split", "images a class", "images"), counts, (1, 2))}'
        f"\n<details><summary>The definition, as YAML</summary><pre>{esc(view.settings)}</pre></details>"
    )


def _by_class(view: View, album: Album) -> str:
    names, labels = view.renderer.classes, view.shown.crops.labels
    groups = [Group(name, view.shown, np.flatnonzero(labels == n).tolist()) for n, name in enumerate(names)]
    return _rows(groups, album, CLASSES, "classes", view.each)


def _by_font(view: View, album: Album) -> str:
    faces, held = view.renderer.faces, frozenset[int]()
    if view.definition.holdout.fonts:
        held = view.renderer.unseen_faces
    lots = [view.shown, *(lot for lot in view.unseen if lot.split == UNSEEN_FONTS)]
    groups = []
    for number, face in enumerate(faces):
        rows = [np.flatnonzero((lot.crops.samples["face"] == number) & _inked(lot)).tolist() for lot in lots]
        which = next((n for n, found in enumerate(rows) if found), 0)
        if rows[which] or view.shown.split in SPLITS:
            note = _rate(view, "face", number, tuple(tables.REASONS)) if which == 0 else ""
            groups.append(Group(face.name, lots[which], rows[which], note, number in held))
    return _rows(groups, album, GROUPS, "faces", view.each)


def _by_background(view: View, album: Album) -> str:
    sources, names = view.renderer.backgrounds.sources, view.canvases
    held = [frozenset[int]() for _ in sources]
    if view.definition.holdout.backgrounds:
        held = view.renderer.unseen_canvases
    groups = []
    for lot in [view.shown, *(lot for lot in view.unseen if lot.split == UNSEEN_BACKGROUNDS)]:
        only = lot.split == UNSEEN_BACKGROUNDS
        for number, source in enumerate(sources):
            canvases = [n for n in range(len(names[number])) if (n in held[number]) == only]
            rows = np.flatnonzero(lot.crops.samples["source"] == number).tolist()
            if not canvases or (only and not rows):
                continue
            kind = "pictures" if source.paths else "canvases"
            note = f"{len(canvases)} of {len(names[number])} {kind}" if held[number] else f"{len(canvases)} {kind}"
            if lot is view.shown and (rate := _rate(view, "source", number, (tables.LOW_CONTRAST,))):
                note += f", {rate}"
            more = ""
            if source.paths:
                named = listed([esc(names[number][n]) for n in canvases], kind)
                more = f'<details class="note"><summary>Pictures</summary>{named}</details>'
            groups.append(Group(source.background.source, lot, rows, note, only, more))
    return _rows(groups, album, GROUPS, "sources", view.each)


def _by_style(view: View, album: Album) -> str:
    """Rows for what every sample notes of its style, as far as it varies."""
    crops, levels = view.shown.crops, view.renderer.levels
    s, inked = crops.samples, _inked(view.shown)
    parts: list[tuple[str, list[tuple[str, NDArray[np.bool_]]]]] = []
    bins = np.array_split(np.arange(len(levels.heights)), min(len(levels.heights), 6))
    heights = [(span(levels.heights[part], "pixels"), np.isin(s["height"], part)) for part in bins]
    parts.append(("Height of the digits", heights))
    widths = [(f"{width:g} pixels" if width else "none", s["stroke"] == n) for n, width in enumerate(levels.strokes)]
    parts.append(("Outline", widths))
    parts.append(("Slant", [(f"{slant:g}°", s["slant"] == n) for n, slant in enumerate(levels.slants)]))
    sides = [("none", s["side"] == tables.NO_SIDE)] + [(name, s["side"] == n) for n, name in enumerate(tables.SIDES)]
    parts.append(("Neighbour", sides))
    tries = [("first", s["attempt"] == 0), ("second", s["attempt"] == 1), ("third or later", s["attempt"] > 1)]
    parts.append(("Tries that it took", tries))
    said = []
    for title, choices in parts:
        groups = [Group(name, view.shown, np.flatnonzero(which & inked).tolist()) for name, which in choices]
        groups = [group for group in groups if group.rows]
        if len(groups) > 1:
            total = sum(len(group.rows) for group in groups)
            for group in groups:
                group.note = f"{len(group.rows) / total:.0%}"
            said.append(f"<h3>{title}</h3>" + _rows(groups, album, GROUPS // 4, "rows", min(view.each, 16)))
    return "\n".join(said)


def _legibility(view: View, album: Album) -> str:
    samples = view.shown.crops.samples[_inked(view.shown)]
    if not len(samples):
        return ""
    least = view.definition.game.text.contrast
    faint = view.refused.crops.samples
    faint = faint["contrast"][faint["status"] == tables.LOW_CONTRAST]
    most = max(float(samples["contrast"].max()), least, 1.0)
    step = least / np.ceil(least / (most / 30)) if least else most / 30
    contrasts = histogram(
        "Contrast, in levels of luma", samples["contrast"], faint, np.arange(0, most + step, step), least
    )
    inks = samples["bottom"] - samples["top"]
    step = 1 + (int(inks.max()) - int(inks.min())) // 40
    edges = np.arange(int(inks.min()), int(inks.max()) + step + 1, step) - 0.5
    heights = histogram("Height of the ink, in pixels", inks, np.zeros(0), edges, None)
    order = np.flatnonzero(_inked(view.shown))
    order = order[np.argsort(view.shown.crops.samples["contrast"][order], kind="stable")][:EXTREMES]
    lowest = _cards(view, album, view.shown, order.tolist())
    return (
        f'<div class="charts">{contrasts}{heights}</div>\n<h3>The lowest contrasts that passed</h3>\n'
        f"<p>Of {len(samples):,} crops with text. What cannot be read here should have been refused: raise "
        f"<code>text.contrast</code> above {least:g}.</p>\n{lowest}"
    )


def _refused(view: View, album: Album) -> str:
    crops = view.refused.crops
    s = crops.samples
    if not len(s):
        return f"<p>None of {view.drawn:,} first tries was refused.</p>"
    mends = {reason: tables.MENDS[status] for status, reason in tables.REASONS.items()}
    counts = [(reason, f"{n:,}", f"{n / view.drawn:.1%}", mends[reason]) for reason, n in crops.rejects.most_common()]
    said = [
        f"<p>{len(s):,} of {view.drawn:,} first tries ({len(s) / view.drawn:.1%}) were refused. The same text is then "
        "drawn again in another style, until it is whole and legible.</p>",
        table(("reason", "tries", "share", "what helps"), counts, (1, 2)),
    ]
    faint = np.flatnonzero(s["status"] == tables.LOW_CONTRAST)
    if len(faint):
        faint = faint[np.argsort(-s["contrast"][faint], kind="stable")]
        said.append(
            f"<h3>Narrowly refused: low contrast, the highest first</h3>\n<p>What can be read well here need not be "
            f"refused: lower <code>text.contrast</code> below {view.definition.game.text.contrast:g}.</p>"
        )
        said.append(_cards(view, album, view.refused, faint[:EXTREMES].tolist()))
        if rest := faint[EXTREMES:].tolist():
            some = [rest[i] for i in np.linspace(0, len(rest) - 1, min(len(rest), EXTREMES)).astype(int).tolist()]
            said.append(f"<h3>Low contrast, {len(some)} of the {len(rest):,} below those</h3>")
            said.append(_cards(view, album, view.refused, some))
    said.append(_not_drawn(view))
    return "\n".join(said)


def _not_drawn(view: View) -> str:
    """The tries of which there is no picture, by font."""
    crops, renderer = view.refused.crops, view.renderer
    s = crops.samples
    rows = []
    for status in (tables.TOO_LARGE, tables.TOO_SMALL):
        for number, face in enumerate(renderer.faces):
            which = np.flatnonzero((s["status"] == status) & (s["face"] == number))
            if len(which):
                heights = span(renderer.levels.heights[np.sort(s["height"][which])], "")
                texts = " · ".join(list(dict.fromkeys(crops.texts[row] for row in which.tolist()))[:5])
                rows.append((tables.REASONS[status], face.name, heights, len(which), texts))
    if not rows:
        return ""
    rows.sort(key=lambda row: -row[3])
    cells = [(reason, face, heights, f"{n:,}", texts) for reason, face, heights, n, texts in rows[:MAX_ROWS]]
    head = ("reason", "face", "height of the digits", "tries", "texts such as")
    title = f"<h3>Not drawn at all: {esc(', '.join(dict.fromkeys(row[0] for row in rows)))}</h3>\n"
    return title + table(head, cells, (3,)) + cut(len(cells), len(rows), "faces, those with the most tries first")


def _checks(report: Report | None) -> str:
    if report is None:
        return ""
    counts = ", ".join(f"{count:,} {esc(split)}" for split, count in report.crops.items())
    items = "\n".join(_check(check) for check in report.checks)
    return (
        f"<p>By <code>python -m textgen.lint</code>, over crops {counts}. "
        f'docs/lint.md says what each means.</p>\n<ul class="checks">\n{items}\n</ul>'
    )


def _check(check: Check) -> str:
    said = (
        f'<li><span class="tag {esc(check.status.lower())}">{esc(check.status)}</span> '
        f'<strong>{esc(check.name)}</strong> <span class="detail">{esc(check.detail)}</span>'
    )
    inner = ""
    if check.histogram:
        edges, counts = (np.array(check.histogram[key]) for key in ("edges", "counts"))
        inner = f"<figure>{bars(check.name, edges, counts, np.zeros(len(counts)), None)}</figure>"
    if check.table:
        keys = list(dict.fromkeys(key for row in check.table for key in row))
        rows = [[cell(row.get(key, "")) for key in keys] for row in check.table[:CHECK_ROWS]]
        numbers = [n for n, key in enumerate(keys) if isinstance(check.table[0].get(key), int | float)]
        inner += table(keys, rows, numbers) + cut(len(rows), len(check.table), "rows")
    if inner:
        opened = "" if check.status == OK else " open"
        return f"{said}<details{opened}><summary>Figure {cell(check.figure)}</summary>{inner}</details></li>"
    return f'{said}<span class="note figure">Figure {cell(check.figure)}</span></li>'


# ---- Their parts.


def _rows(groups: Sequence[Group], album: Album, pixels: int, what: str, each: int) -> str:
    """Groups as rows of crops, no more than `pixels` in all."""
    area = album.height * album.width
    shown = min(len(groups), MAX_ROWS, max(1, pixels // area))
    chosen = [groups[i] for i in np.linspace(0, len(groups) - 1, shown).astype(int).tolist()]
    fit = max(1, min(each, IN_A_ROW, pixels // (area * max(shown, 1))))
    notes = []
    if shown < len(groups):
        notes.append(f"{shown} of {len(groups)} {what}, evenly spread")
    if fit < each:
        notes.append(f"{fit} crops a row, to keep the page small")
    if album.shrink > 1:
        notes.append(f"crops at 1/{album.shrink} of their size")
    longest = max((len(group.name) for group in chosen), default=0)
    short = longest <= 8 and not any(group.note or group.held_out for group in chosen)
    label = f"{max(longest, 2) + 1}ch" if short else "12rem"
    most = max((min(fit, len(group.rows)) for group in chosen), default=0)
    lines = "\n".join(_row(group, album, fit) for group in chosen)
    said = f'<p class="note">Shown: {"; ".join(notes)}.</p>\n' if notes else ""
    return f'{said}<div class="rows{" short" if short else ""}" style="--label:{label};--n:{most}">\n{lines}\n</div>'


def _row(group: Group, album: Album, fit: int) -> str:
    rows = group.rows[:fit]
    name = f"<bdi>{esc(group.name)}</bdi>"
    if group.held_out:
        name += ' <span class="tag held">held out</span>'
    if group.note:
        name += f'<span class="note">{esc(group.note)}</span>'
    texts = ", ".join(group.lot.crops.texts[row] or "no text" for row in rows)
    strip = f'<div class="strip" role="img" aria-label="{esc(f"{group.name}: {len(rows)} crops, {texts}")}">'
    strip += "".join(album.crop(group.lot, row) for row in rows) + "</div>"
    if not rows:
        strip = '<span class="note">in none of the crops looked at</span>'
    found = group.name + (" held out" if group.held_out else "")
    return (
        f'<div class="row" data-name="{esc(found)}"><div class="name">{name}</div><div>{strip}{group.more}</div></div>'
    )


def _cards(view: View, album: Album, lot: Lot, rows: Iterable[int]) -> str:
    """Crops with text and contrast below each."""
    items = []
    for row in rows:
        text, contrast = lot.crops.texts[row], lot.crops.samples["contrast"][row]
        items.append(
            f'<li><span role="img" aria-label="{esc(_words(view, lot, row))}">{album.crop(lot, row)}</span>'
            f'<span class="text">{esc(text)}</span> <span class="of">{tenths(contrast)}</span></li>'
        )
    return f'<ul class="cards">{"".join(items)}</ul>'


def _words(view: View, lot: Lot, row: int) -> str:
    """All that is known of a crop."""
    s, renderer = lot.crops.samples[row], view.renderer
    said = [lot.crops.texts[row] or "no text"]
    if s["length"]:
        said.append(f"{renderer.faces[int(s['face'])].name}, {renderer.levels.heights[int(s['height'])]:g} pixels")
    said.append(view.canvases[int(s["source"])][int(s["canvas"])])
    if s["right"] > s["left"]:
        said.append(f"contrast {tenths(s['contrast'])}")
    said.append(f"{lot.split} {int(s['index'])}" + (f", try {int(s['attempt']) + 1}" if s["attempt"] else ""))
    return " · ".join(said)


def _rate(view: View, attribute: str, value: int, reasons: Sequence[int]) -> str:
    """The share of the first tries with a value that was refused for one of `reasons`."""
    s, out = view.shown.crops.samples, view.refused.crops.samples
    passed = int(((s[attribute] == value) & (s["attempt"] == 0)).sum())
    refused = int(((out[attribute] == value) & np.isin(out["status"], reasons)).sum())
    return f"{refused / (passed + refused):.0%} refused" if passed + refused else ""


def _inked(lot: Lot) -> NDArray[np.bool_]:
    shown: NDArray[np.bool_] = lot.crops.samples["right"] > lot.crops.samples["left"]
    return shown
