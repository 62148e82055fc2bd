"""The checks of a game's crops, judged: what is ok, what to warn of, what fails. `textgen.lint.leaks` measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.lint import leaks
from textgen.render.renderer import SPLITS, RenderedCrops, Renderer

OK, WARN, FAIL = "ok", "warn", "FAIL"
LEAST = 300  # crops with text, and
LEAST_EACH = 5  # a class, below which nothing is said of ties
SURE = 0.001  # chance of a false alarm in all ties together
SURE_Z = 3.09  # the same of one classifier: the interval's end is passed once in a thousand times
TIE, SLIGHT_TIE = 0.1, 0.02  # Cramér's V: about the share of samples whose style the class decides
GAIN = 0.01  # of the way from chance to certainty
ALIKE = 0.15  # distance of a crop's copy with other noise, blur and compression; see `leaks.nearest`
COPIES = 0.01  # share of near copies; a tenth of it of copies to the byte
BLANK_COPIES = 0.05  # share of copies among crops without text, which coincide where the background is flat
TWINS, CLOSE = 0.02, 0.05  # distance of two glyphs
REJECTED, FAINT = 0.3, 0.25  # shares of draws
NEAR = 1.25  # times the least contrast
SMALL = 5  # pixels

Row = dict[str, str | float]


@dataclass(frozen=True)
class Check:
    """One check: `status` ok, warn or FAIL, its main `figure`, and a line that says what it is and what to do.

    `table` holds rows of equal keys, the worst first; `histogram` has n + 1 edges and n counts.
    """

    name: str
    status: str
    figure: float
    detail: str
    table: list[Row] = field(default_factory=list)
    histogram: dict[str, list[float]] = field(default_factory=dict)


def judge(renderer: Renderer, crops: Mapping[str, RenderedCrops]) -> list[Check]:
    """All checks of crops by split, the first of which is trained on. The same crops give the same figures."""
    rng = np.random.default_rng(0)
    first = next(iter(crops))
    inked = {split: some.samples["right"] > some.samples["left"] for split, some in crops.items()}
    samples, labels = crops[first].samples[inked[first]], crops[first].labels[inked[first]]
    written = len(np.unique(labels))  # classes with text
    checks = [_balance(renderer, crops), _order(crops)]
    if written < 2:
        checks.append(Check("class and style", OK, 0.0, "style can tell nothing: fewer than two classes show a text"))
    elif len(labels) >= max(LEAST, LEAST_EACH * written):
        checks += [_styles(renderer, crops, inked, rng), _blank(crops[first], inked[first])]
        checks.append(_style_alone(renderer, samples, labels, rng))
        checks.append(_background_alone(renderer, first, samples, labels, rng))
    else:
        detail = f"{len(labels)} crops with text are too few to tell whether style gives the class away: raise each"
        checks.append(Check("class and style", WARN, float(len(labels)), detail))
    checks += [
        _copies(crops, inked),
        _near_copies(crops, inked),
        _held_out(renderer, crops),
        _glyphs(renderer, crops[first]),
    ]
    return [*checks, *_legibility(renderer, crops, inked)]


def _balance(renderer: Renderer, crops: Mapping[str, RenderedCrops]) -> Check:
    table: list[Row] = []
    for split, some in crops.items():
        counts = np.bincount(some.labels, minlength=len(renderer.classes))
        most, least = int(counts.argmax()), int(counts.argmin())
        ratio = float(counts[most] / max(counts[least], 0.5))
        table.append({"split": split, "ratio": ratio, "most": renderer.classes[most], "least": renderer.classes[least]})
    table.sort(key=lambda row: -float(row["ratio"]))
    worst = float(table[0]["ratio"])
    some = next(iter(crops.values()))
    other = float(np.mean(some.labels == len(renderer.classes) - 1))
    single = _one_text(renderer, some)
    status = FAIL if worst > 1.5 else WARN if worst > 1.1 or other > 0.5 or single else OK
    detail = f"the commonest class has {worst:.3g} times the images of the rarest; class other is {other:.1%}"
    if worst > 1.1:
        detail += ": give every class as many"
    elif single:
        detail += f"; class {single} shows nearly always one of its texts: even out the weights of fields"
    return Check("balance", status, worst, detail, table)


def _one_text(renderer: Renderer, crops: RenderedCrops) -> str:
    """A class that could show several texts and shows one of them in nine of ten crops, or none."""
    by_class: dict[int, Counter[str]] = {}
    for label, text in zip(crops.labels.tolist(), crops.texts, strict=True):
        by_class.setdefault(label, Counter())[text] += 1
    for label, texts in by_class.items():
        if len(texts) > 1 and texts.total() >= 20 and max(texts.values()) > 0.9 * texts.total():
            return f"'{renderer.classes[label]}'"
    return ""


def _order(crops: Mapping[str, RenderedCrops]) -> Check:
    """Whether the classes come evenly along the samples of a split."""
    ties = {split: leaks.tie(some.labels, _tenths(len(some.labels))) for split, some in crops.items()}
    split = max(ties, key=lambda split: ties[split].effect)
    tie = ties[split]
    bad = tie.effect >= TIE and tie.p < SURE
    detail = f"classes come evenly along the samples (V {tie.effect:.3f})"
    if bad:
        detail = f"classes and numbers of the samples go together in {split} (V {tie.effect:.3f}): mix them"
    return Check("order", FAIL if bad else OK, tie.effect, detail)


def _tenths(n: int) -> leaks.Ints:
    return np.arange(n, dtype=np.int64) * 10 // max(n, 1)


def _styles(
    renderer: Renderer,
    crops: Mapping[str, RenderedCrops],
    inked: Mapping[str, NDArray[np.bool_]],
    rng: np.random.Generator,
) -> Check:
    """Ties of the class and what a text is drawn with, in every split."""
    table: list[Row] = []
    for split, some in crops.items():
        labels = some.labels[inked[split]]
        for name, values in leaks.attributes(some.samples[inked[split]], renderer.game.size, rng).items():
            if len(np.unique(values)) > 1:
                table.append({"style": name, "split": split, **leaks.tie(labels, values)._asdict()})
    for row, p in zip(table, leaks.holm([float(row["p"]) for row in table]), strict=True):
        row["p"] = p
    table.sort(key=lambda row: (float(row["p"]) >= SURE, -float(row["effect"])))
    return Check("class and style", *_verdict(table), table)


def _verdict(table: list[Row]) -> tuple[str, float, str]:
    """Status, figure and detail of a table of ties, those beyond chance first."""
    if not table:
        return OK, 0.0, "style never varies"
    worst = table[0]
    effect = float(worst["effect"])
    if float(worst["p"]) >= SURE or effect < SLIGHT_TIE:
        where = f"{worst['style']} in {worst['split']}, p {float(worst['p']):.2g}"
        return OK, effect, f"{len(table)} attributes of style do not tell the class (largest V {effect:.3f}, {where})"
    told = f"{worst['style']} goes with the class in {worst['split']} (V {effect:.3f})"
    if effect < TIE:
        return WARN, effect, f"{told}, slightly: rejected draws shift it, wide texts need small letters; reject fewer"
    return FAIL, effect, f"{told}: a network can learn it in place of the text; draw it without regard to the class"


def _blank(crops: RenderedCrops, inked: NDArray[np.bool_]) -> Check:
    """Whether crops without text show other backgrounds than those with text. No failure: the text tells them apart."""
    s = crops.samples
    canvases = s["source"].astype(np.int64) * (int(s["canvas"].max(initial=0)) + 1) + s["canvas"]
    tie = leaks.tie(inked.astype(np.int64), canvases)
    status = WARN if tie.p < SURE and tie.effect >= TIE else OK
    detail = f"crops without text show the same backgrounds as those with (V {tie.effect:.3f}, p {tie.p:.2g})"
    if status == WARN:
        detail = f"some backgrounds are mostly without text (V {tie.effect:.3f}): give texts contrast on them too"
    if inked.all():
        detail = "every crop shows a text"
    return Check("blank crops", status, tie.effect, detail)


def _style_alone(renderer: Renderer, samples: NDArray[Any], labels: leaks.Ints, rng: np.random.Generator) -> Check:
    columns = list(leaks.attributes(samples, renderer.game.size, rng).values())
    return _guessed(
        "style alone", "font, colour, place and background", leaks.guess(leaks.one_hot(columns), labels, rng)
    )


def _background_alone(
    renderer: Renderer, split: str, samples: NDArray[Any], labels: leaks.Ints, rng: np.random.Generator
) -> Check:
    features = leaks.ground_features(renderer.without_text(split, samples))
    guess = leaks.guess(features, labels, rng, leaks.HIDDEN)
    return _guessed("background alone", "the crops drawn without their texts", guess)


def _guessed(name: str, source: str, guess: leaks.Guess) -> Check:
    low, high = guess.interval(SURE_Z)
    gain = (guess.accuracy - guess.chance) / (1 - guess.chance)
    status = OK if low <= guess.chance else FAIL if gain >= GAIN else WARN
    right = f"{guess.accuracy:.2%} ({low:.2%} to {high:.2%})"
    detail = f"a classifier on {source} is right in {right}, chance is {guess.chance:.2%}"
    detail += {OK: "", WARN: ": slightly more; see class and style", FAIL: ": it needs no text; see class and style"}[
        status
    ]
    row: Row = {"accuracy": guess.accuracy, "low": low, "high": high, "chance": guess.chance, "tested": guess.tested}
    return Check(name, status, guess.accuracy, detail, [row])


def _copies(crops: Mapping[str, RenderedCrops], inked: Mapping[str, NDArray[np.bool_]]) -> Check:
    """Crops with the same bytes as one of the first split. Blank ones may coincide, on a flat background."""
    first, *rest = crops
    images = crops[first].images
    digests = Counter(hash(image.tobytes()) for image in images[inked[first]])
    table: list[Row] = [_share(first, sum(count - 1 for count in digests.values()), int(inked[first].sum()))]
    for split in rest:
        found = leaks.repeated(crops[split].images, images)
        table.append(_share(split, int(found[inked[split]].sum()), int(inked[split].sum())))
        blank = ~inked[split]
        table.append(_share(f"{split}, blank", int(found[blank].sum()), int(blank.sum())))
    table.sort(key=lambda row: ("blank" in str(row["split"]), -float(row["share"])))
    worst = float(table[0]["share"])
    blanks = max((float(row["share"]) for row in table if "blank" in str(row["split"])), default=0.0)
    status = FAIL if worst >= COPIES / 10 else WARN if worst or blanks >= BLANK_COPIES else OK
    detail = f"{worst:.2%} of the crops with text are those of {first} to the byte, {blanks:.1%} of those without"
    detail += "" if status == OK else ": check the seeds of the splits, or vary style and backgrounds more"
    return Check("copies", status, worst, detail, table)


def _share(split: str, count: int, of: int) -> Row:
    return {"split": split, "copies": count, "of": of, "share": count / max(of, 1)}


def _near_copies(crops: Mapping[str, RenderedCrops], inked: Mapping[str, NDArray[np.bool_]]) -> Check:
    """Crops of further splits that are one of the first but for noise, blur, light and compression."""
    first, *rest = crops
    table: list[Row] = []
    least = []
    for split in rest:
        if inked[split].any() and inked[first].any():
            ours, samples = crops[split].images[inked[split]], crops[split].samples[inked[split]]
            distances = leaks.nearest(ours, samples, crops[first].images[inked[first]], ALIKE)
            table.append(_share(split, int((distances < ALIKE).sum()), len(ours)))
            least.append(float(distances.min()))
    table.sort(key=lambda row: -float(row["share"]))
    worst = float(table[0]["share"]) if table else 0.0
    status = FAIL if worst >= COPIES else WARN if worst >= COPIES / 10 else OK
    detail = f"{worst:.2%} of the crops with text are nearly one of {first}"
    detail += f" (least distance {min(least):.2f}, copies below {ALIKE})" if least else ""
    detail += "" if status == OK else ": check the seeds of the splits, or vary style and backgrounds more"
    return Check("near copies", status, worst, detail, table)


def _held_out(renderer: Renderer, crops: Mapping[str, RenderedCrops]) -> Check:
    """Whether assets held out show in another split. By file: the instances of a variable font are one."""
    names = renderer.backgrounds.names()
    shown = {}
    for split, some in crops.items():
        s = some.samples[some.samples["right"] > some.samples["left"]]
        fonts = {str(renderer.faces[face].path) for face in np.unique(s["face"]).tolist()}
        pairs = np.unique(np.stack([some.samples["source"], some.samples["canvas"]], 1), axis=0).tolist()
        shown[split] = {"fonts": fonts, "backgrounds": {names[source][canvas] for source, canvas in pairs}}
    table: list[Row] = []
    for kind in ("fonts", "backgrounds"):
        unseen = f"{SPLITS[2]}_{kind}"
        for split in crops if unseen in crops else ():
            if split != unseen:
                both = sorted(shown[split][kind] & shown[unseen][kind])
                row: Row = {"kind": kind, "split": split, "held out": len(shown[unseen][kind]), "seen": len(both)}
                table.append(row | {"as": both[0] if both else ""})
    table.sort(key=lambda row: -float(row["seen"]))
    if not table:
        return Check(
            "held out", OK, 0.0, "nothing is held out; split.holdout_fonts=0.2 makes a test set of unseen fonts"
        )
    worst = float(table[0]["seen"])
    detail = "fonts and backgrounds held out show in their test sets alone"
    if worst:
        detail = (
            f"{worst:.0f} {table[0]['kind']} held out show in {table[0]['split']}: test sets of unseen assets are seen"
        )
    return Check("held out", FAIL if worst else OK, worst, detail, table)


def _glyphs(renderer: Renderer, crops: RenderedCrops) -> Check:
    """Glyphs that look alike, of characters by which classes differ, at the smallest height."""
    other = len(renderer.classes) - 1
    others = [text for text, label in zip(crops.texts, crops.labels, strict=True) if label == other][:200]
    pairs = leaks.telling_pairs(renderer.spec, others)
    characters = "".join(sorted({character for pair in pairs for character in pair if not character.isspace()}))
    height = float(renderer.levels.heights[0])
    inked = [(characters.index(a), characters.index(b)) for a, b in pairs if not (a.isspace() or b.isspace())]
    found = []
    for face in renderer.faces if inked else ():
        distances = leaks.glyph_distances(face, characters, height)
        found += [(float(distances[i, j]), face.name, f"{characters[i]} and {characters[j]}") for i, j in inked]
    if not found:
        return Check("glyphs", OK, 1.0, "no two classes differ in one character")
    found.sort()
    worst, name, pair = found[0]
    close = sum(distance < CLOSE for distance, *_ in found)
    status = FAIL if worst < TWINS else WARN if close else OK
    detail = f"the two most alike, {pair} of {name} at {height:g} pixels, are {worst:.3f} apart"
    detail += f", {close} pairs below {CLOSE}: raise text.height or leave these fonts out" if close else ""
    table: list[Row] = [{"face": name, "pair": pair, "distance": distance} for distance, name, pair in found[:50]]
    return Check("glyphs", status, worst, detail, table)


def _legibility(
    renderer: Renderer, crops: Mapping[str, RenderedCrops], inked: Mapping[str, NDArray[np.bool_]]
) -> list[Check]:
    """Contrast, height of the ink, and draws rejected, of all splits together."""
    s = np.concatenate([some.samples[inked[split]] for split, some in crops.items()])
    if not len(s):
        return []
    least = renderer.game.text.contrast
    faint = float(np.mean(s["contrast"] < NEAR * least))
    counts, edges = np.histogram(s["contrast"], 24, (0, max(float(s["contrast"].max()), 1)))
    histogram = {"edges": edges.tolist(), "counts": counts.astype(float).tolist()}
    detail = f"{faint:.1%} of the crops are within a quarter above the least contrast {least:g}, half are above "
    detail += f"{np.median(s['contrast']):.0f}" + (": change colours or backgrounds" if faint > FAINT else "")
    checks = [Check("contrast", WARN if faint > FAINT else OK, faint, detail, [], histogram)]

    heights = s["bottom"] - s["top"]
    lowest = int(heights.min())
    detail = f"the lowest ink is {lowest} pixels high, in 1 % of the crops at most {np.quantile(heights, 0.01):.0f}"
    detail += f": below {SMALL} few letters can be read; raise text.height or text.least" if lowest < SMALL else ""
    checks.append(Check("height", WARN if lowest < SMALL else OK, float(lowest), detail))

    rejects = sum((some.rejects for some in crops.values()), Counter[str]())
    drawn = rejects.total() + sum(len(some.labels) for some in crops.values())
    share = rejects.total() / drawn
    table: list[Row] = [{"reason": reason, "share": count / drawn} for reason, count in rejects.most_common()]
    detail = f"{share:.1%} of the draws" + "".join(f", {row['share']:.1%} {row['reason']}" for row in table)
    detail += ": the style that is left may tell of the text; mend the commonest reason" if share > REJECTED else ""
    checks.append(Check("rejected draws", WARN if share > REJECTED else OK, share, detail, table))
    return checks
