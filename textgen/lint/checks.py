"""The checks of a game's crops: each compares a figure with limits and gives ok, warn or FAIL.

The figures come from `textgen.lint.leaks` and `textgen.lint.similarity`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.characters import name_character
from textgen.lint import leaks, similarity
from textgen.render.renderer import SPLITS, RenderedCrops, Renderer
from textgen.spec.label_fields import ABSENT
from textgen.spec.values import OTHER

OK, WARN, FAIL = "ok", "warn", "FAIL"
MAX_CLASS_RATIO, MAX_CLASS_RATIO_OK = 1.5, 1.1  # crops of the most frequent class over those of the rarest
MIN_VALUE_SHARE = 0.25  # of an even share: of several fields, crops that show the rarest value
MAX_OTHER_SHARE = 0.5  # of the crops, in class "other"
MAX_TEXT_SHARE, MIN_TEXT_CROPS = 0.9, 20  # share of a class's most frequent text; tested from this many crops
MIN_CROPS, MIN_CROPS_PER_CLASS = 300, 5  # with text; with fewer, associations with the class are not tested
SIGNIFICANCE = 0.001  # level of the p-values, which are corrected for the number of tests
PROBE_Z = 3.09  # standard deviations: the one-sided level of the probes is 0.001 too
STRONG_V, WEAK_V = 0.1, 0.02  # Cramér's V: roughly the share of samples in which the class determines the style
MAX_PROBE_GAIN = 0.01  # (accuracy - chance) / (1 - chance)
NEAR_COPY_DISTANCE = 0.15  # half of the copies with other noise, blur and compression are nearer
MAX_NEAR_COPIES, MAX_NEAR_COPIES_OK = 0.01, 0.001  # shares of the crops with text
MAX_COPIES = 0.001  # share of the crops with text that are identical to another crop
MAX_BLANK_COPIES = 0.05  # share of the crops without text: these are equal where the background is flat
SAME_GLYPH_DISTANCE, SIMILAR_GLYPH_DISTANCE = 0.02, 0.05
MAX_GLYPH_ROWS, MAX_OTHER_TEXTS = 50, 200
LOW_CONTRAST_FACTOR, MAX_LOW_CONTRAST = 1.25, 0.25  # contrast below factor × text.contrast; share of such crops
MIN_INK_HEIGHT = 5  # pixels
MAX_REJECTED = 0.3  # share of the draws

Row = dict[str, str | float]
Crops = Mapping[str, RenderedCrops]  # by split
Masks = Mapping[str, NDArray[np.bool_]]  # which crops of each split show text


@dataclass(frozen=True)
class Check:
    """The result of one check: `status` ok, warn or FAIL, its main `figure`, and one sentence on finding and remedy.

    `table` holds rows with equal keys, the worst first; `histogram` has n + 1 edges and n counts.
    """

    name: str
    status: str
    figure: float
    detail: str
    table: list[Row] = field(default_factory=list)
    histogram: dict[str, list[float]] = field(default_factory=dict)


def run_checks(renderer: Renderer, crops: Crops) -> list[Check]:
    """Run all checks on crops by split. The first split is the training set. Equal crops give equal figures."""
    with_text = {split: part.samples["right"] > part.samples["left"] for split, part in crops.items()}
    return [
        _check_values(renderer, crops) if renderer.spec.is_joint else _check_balance(renderer, crops),
        _check_order(crops),
        *_check_leaks(renderer, crops, with_text),
        _check_copies(crops, with_text),
        _check_near_copies(crops, with_text),
        _check_held_out(renderer, crops),
        _check_glyphs(renderer, crops[next(iter(crops))]),
        *_check_legibility(renderer, crops, with_text),
    ]


def _check_balance(renderer: Renderer, crops: Crops) -> Check:
    table: list[Row] = []
    names = renderer.fields.fields[0].classes
    for split, part in crops.items():
        counts = np.bincount(part.first_labels, minlength=len(names))
        most, least = int(counts.argmax()), int(counts.argmin())
        ratio = float(counts[most] / max(counts[least], 0.5))
        table.append({"split": split, "ratio": ratio, "most": names[most], "least": names[least]})
    table.sort(key=lambda row: -float(row["ratio"]))
    worst = float(table[0]["ratio"])
    training = next(iter(crops.values()))
    other = float(np.mean(training.first_labels == len(names) - 1))
    monotonous = _find_monotonous_class(renderer, training)
    warn = worst > MAX_CLASS_RATIO_OK or other > MAX_OTHER_SHARE or monotonous
    status = FAIL if worst > MAX_CLASS_RATIO else WARN if warn else OK
    detail = f"the most frequent class has {worst:.3g} times the crops of the rarest; "
    detail += f"class other makes up {other:.1%} of the crops"
    if worst > MAX_CLASS_RATIO_OK:
        detail += ": use equally many crops of each class"
    elif monotonous:
        detail += f"; class {monotonous} almost always shows the same one of its texts: use more even weights of fields"
    return Check("balance", status, worst, detail, table)


def _check_values(renderer: Renderer, crops: Crops) -> Check:
    """Check that no value of a field is clearly rarer than a part of an even share. How many crops show it is chance.

    How often a field is shown at all is not looked at.
    """
    rows: list[tuple[bool, Row]] = []  # whether the rarest value is rarer than that
    for split, part in crops.items():
        for of, labels in zip(renderer.fields.fields, part.labels.reshape(len(part.labels), -1).T, strict=True):
            values = [number for number, name in enumerate(of.classes) if name not in (OTHER, ABSENT)]
            counts = np.bincount(labels, minlength=len(of.classes))[values]
            even, least = float(counts.mean()), int(counts.argmin())
            row: Row = {
                "value": f"{of.name}={of.classes[values[least]]}",
                "split": split,
                "crops": float(counts[least]),
            }
            limit = MIN_VALUE_SHARE * even
            is_rare = bool(counts[least] < limit - 3 * limit**0.5)  # by three standard deviations: never of a few crops
            rows.append((is_rare, {**row, "even": even, "share": float(counts[least] / max(even, 1))}))
    rows.sort(key=lambda entry: (not entry[0], float(entry[1]["share"])))
    is_rare, worst = rows[0]
    detail = "no value of a field is clearly rare"
    if is_rare:
        detail = f"{worst['crops']:.0f} crops of {worst['split']} show {worst['value']}, an even share would be "
        detail += f"{worst['even']:.0f}: use more even weights, or fewer limits between fields"
    return Check("balance", WARN if is_rare else OK, float(worst["share"]), detail, [row for _, row in rows])


def _find_monotonous_class(renderer: Renderer, crops: RenderedCrops) -> str:
    """Find a class with several texts of which one is in nine of ten crops: its quoted name, or ""."""
    texts_by_class: dict[int, Counter[str]] = {}
    for label, text in zip(crops.first_labels.tolist(), crops.texts, strict=True):
        texts_by_class.setdefault(label, Counter())[text] += 1
    for label, texts in texts_by_class.items():
        count = texts.total()
        if len(texts) > 1 and count >= MIN_TEXT_CROPS and max(texts.values()) > MAX_TEXT_SHARE * count:
            return f"'{renderer.fields.fields[0].classes[label]}'"
    return ""


def _check_order(crops: Crops) -> Check:
    """Check that the class does not depend on the position of a sample in its split, by tenths."""
    associations = {}
    for split, part in crops.items():
        n = len(part.labels)
        tenths = np.arange(n, dtype=np.int64) * 10 // max(n, 1)
        associations[split] = leaks.cramers_v(part.first_labels, tenths)
    split = max(associations, key=lambda split: associations[split].effect)
    worst = associations[split]
    failed = worst.effect >= STRONG_V and worst.p < SIGNIFICANCE
    detail = f"every split is an even mixture of the classes from start to end (V {worst.effect:.3f})"
    if failed:
        detail = f"in {split} the class depends on the sample's number (V {worst.effect:.3f}): shuffle the samples"
    return Check("order", FAIL if failed else OK, worst.effect, detail)


def _check_leaks(renderer: Renderer, crops: Crops, with_text: Masks) -> list[Check]:
    """Check whether anything but the text reveals the class."""
    rng = np.random.default_rng(0)
    training, mask = next(iter(crops)), with_text[next(iter(crops))]
    samples, labels = crops[training].samples[mask], crops[training].first_labels[mask]
    classes = len(np.unique(labels))
    if classes < 2:
        detail = "not tested: fewer than two classes show text"
        return [Check("class and style", OK, 0.0, detail)]
    if len(labels) < max(MIN_CROPS, MIN_CROPS_PER_CLASS * classes):
        detail = f"{len(labels)} crops with text are too few to test whether style depends on the class: raise each"
        return [Check("class and style", WARN, float(len(labels)), detail)]
    return [
        _check_class_and_style(crops, with_text, rng),
        _check_blank_crops(crops[training], mask),
        _check_style_probe(samples, labels, rng),
        _check_background_probe(renderer, training, samples, labels, rng),
    ]


def _check_class_and_style(crops: Crops, with_text: Masks, rng: np.random.Generator) -> Check:
    """Check the association of the class with each style attribute in each split."""
    table: list[Row] = []
    for split, part in crops.items():
        labels = part.first_labels[with_text[split]]
        for name, values in leaks.extract_style_attributes(part.samples[with_text[split]], rng).items():
            if len(np.unique(values)) > 1:
                table.append({"style": name, "split": split, **leaks.cramers_v(labels, values)._asdict()})
    for row, p in zip(table, leaks.correct_p_values([float(row["p"]) for row in table]), strict=True):
        row["p"] = p
    table.sort(key=lambda row: (float(row["p"]) >= SIGNIFICANCE, -float(row["effect"])))
    return Check("class and style", *_judge_associations(table), table)


def _judge_associations(table: list[Row]) -> tuple[str, float, str]:
    """Give the status, figure and detail of a table of associations, the significant ones first."""
    if not table:
        return OK, 0.0, "no attribute of style varies"
    worst = table[0]
    effect = float(worst["effect"])
    if float(worst["p"]) >= SIGNIFICANCE or effect < WEAK_V:
        largest = f"V {effect:.3f}: {worst['style']} in {worst['split']}, p {float(worst['p']):.2g}"
        detail = f"none of {len(table)} attributes of style clearly depends on the class (largest {largest})"
        return OK, effect, detail
    finding = f"{worst['style']} depends on the class in {worst['split']} (V {effect:.3f})"
    if effect < STRONG_V:
        cause = "slightly: rejected draws cause this, because wide texts fit only in small letters; reject fewer"
        return WARN, effect, f"{finding}, {cause}"
    return FAIL, effect, f"{finding}: a network can learn it instead of the text; draw it independently of the class"


def _check_blank_crops(crops: RenderedCrops, with_text: NDArray[np.bool_]) -> Check:
    """Check whether crops with and without text show the same backgrounds. Never fails: the text distinguishes them."""
    found = leaks.cramers_v(with_text.astype(np.int64), leaks.number_backgrounds(crops.samples))
    status = WARN if found.p < SIGNIFICANCE and found.effect >= STRONG_V else OK
    detail = "the backgrounds of crops with and without text do not differ clearly "
    detail += f"(V {found.effect:.3f}, p {found.p:.2g})"
    if status == WARN:
        detail = f"some backgrounds are mostly shown without text (V {found.effect:.3f}): "
        detail += "use text colours that have enough contrast on them"
    if with_text.all():
        detail = "every crop shows text"
    return Check("blank crops", status, found.effect, detail)


def _check_style_probe(samples: NDArray[Any], labels: leaks.I64, rng: np.random.Generator) -> Check:
    attributes = leaks.extract_style_attributes(samples, rng)
    result = leaks.probe(leaks.encode_one_hot(list(attributes.values())), labels, rng)
    return _judge_probe("style alone", "only the font, colour, place and background", result)


def _check_background_probe(
    renderer: Renderer, split: str, samples: NDArray[Any], labels: leaks.I64, rng: np.random.Generator
) -> Check:
    features = leaks.extract_background_features(renderer.render_without_text(split, samples))
    result = leaks.probe(features, labels, rng, leaks.HIDDEN_FEATURES)
    return _judge_probe("background alone", "the crops drawn without their texts", result)


def _judge_probe(name: str, features: str, result: leaks.ProbeResult) -> Check:
    low, high = result.interval(PROBE_Z)
    gain = (result.accuracy - result.chance) / (1 - result.chance)
    status = OK if low <= result.chance else FAIL if gain >= MAX_PROBE_GAIN else WARN
    accuracy = f"{result.accuracy:.2%} ({low:.2%} to {high:.2%})"
    detail = f"a classifier that sees {features} has an accuracy of {accuracy}; chance is {result.chance:.2%}"
    if status == WARN:
        detail += ": slightly above chance; see class and style"
    elif status == FAIL:
        detail += ": the class can be predicted without the text; see class and style"
    row: Row = {"accuracy": result.accuracy, "low": low, "high": high}
    row |= {"chance": result.chance, "tested": result.tested}
    return Check(name, status, result.accuracy, detail, [row])


def _check_copies(crops: Crops, with_text: Masks) -> Check:
    """Check for crops with the same bytes as a crop of the training set. Blank ones on a flat background are equal."""
    training, *rest = crops
    images = crops[training].images
    digests = Counter(hash(image.tobytes()) for image in images[with_text[training]])
    repeated = sum(count - 1 for count in digests.values())
    table: list[Row] = [_make_copies_row(training, repeated, int(with_text[training].sum()))]
    for split in rest:
        copied = similarity.find_identical(crops[split].images, images)
        for name, mask in ((split, with_text[split]), (f"{split}, blank", ~with_text[split])):
            table.append(_make_copies_row(name, int(copied[mask].sum()), int(mask.sum())))
    table.sort(key=lambda row: ("blank" in str(row["split"]), -float(row["share"])))
    worst = float(table[0]["share"])
    blank = max((float(row["share"]) for row in table if "blank" in str(row["split"])), default=0.0)
    status = FAIL if worst >= MAX_COPIES else WARN if worst or blank >= MAX_BLANK_COPIES else OK
    detail = f"{worst:.2%} of the crops with text are identical to a crop of {training}, {blank:.1%} of those without"
    detail += "" if status == OK else ": check the seeds of the splits, or vary style and backgrounds more"
    return Check("copies", status, worst, detail, table)


def _make_copies_row(split: str, count: int, total: int) -> Row:
    return {"split": split, "copies": count, "of": total, "share": count / max(total, 1)}


def _check_near_copies(crops: Crops, with_text: Masks) -> Check:
    """Check for crops that equal a crop of the training set except for noise, blur, light and compression."""
    training, *rest = crops
    table: list[Row] = []
    smallest = []
    for split in rest:
        mask = with_text[split]
        if mask.any() and with_text[training].any():
            images, samples = crops[split].images[mask], crops[split].samples[mask]
            others = crops[training].images[with_text[training]]
            distances = similarity.measure_nearest_distances(images, samples, others, NEAR_COPY_DISTANCE)
            table.append(_make_copies_row(split, int((distances < NEAR_COPY_DISTANCE).sum()), len(images)))
            smallest.append(float(distances.min()))
    table.sort(key=lambda row: -float(row["share"]))
    worst = float(table[0]["share"]) if table else 0.0
    status = FAIL if worst >= MAX_NEAR_COPIES else WARN if worst >= MAX_NEAR_COPIES_OK else OK
    detail = f"{worst:.2%} of the crops with text are almost identical to a crop of {training}"
    detail += f" (smallest distance {min(smallest):.2f}, limit {NEAR_COPY_DISTANCE})" if smallest else ""
    detail += "" if status == OK else ": check the seeds of the splits, or vary style and backgrounds more"
    return Check("near copies", status, worst, detail, table)


def _check_held_out(renderer: Renderer, crops: Crops) -> Check:
    """Check that held-out assets appear in their test sets only. All instances of a variable font are one file."""
    names = renderer.backgrounds.canvas_names()
    shown = {}
    for split, part in crops.items():
        samples = part.samples[part.samples["right"] > part.samples["left"]]
        fonts = {str(renderer.faces[face].path) for face in np.unique(samples["face"]).tolist()}
        pairs = np.unique(np.stack([part.samples["source"], part.samples["canvas"]], 1), axis=0).tolist()
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
        detail = "no assets are held out; split.holdout_fonts=0.2 adds a test set with unseen fonts"
        return Check("held out", OK, 0.0, detail)
    worst = float(table[0]["seen"])
    detail = "held-out fonts and backgrounds appear in their own test sets only"
    if worst:
        appear = f"{worst:.0f} held-out {table[0]['kind']} also appear in {table[0]['split']}"
        detail = f"{appear}: the test set of unseen {table[0]['kind']} is not unseen"
    return Check("held out", FAIL if worst else OK, worst, detail, table)


def _check_glyphs(renderer: Renderer, crops: RenderedCrops) -> Check:
    """Check for similar glyphs, at the smallest height, among characters that distinguish classes."""
    other = renderer.fields.sizes[0] - 1
    other_texts = [text for text, label in zip(crops.texts, crops.first_labels, strict=True) if label == other]
    pairs = similarity.find_distinguishing_pairs(renderer.spec, other_texts[:MAX_OTHER_TEXTS])
    pairs = {pair for pair in pairs if renderer.font_characters.issuperset(pair)}  # the others are icons
    characters = "".join(sorted({character for pair in pairs for character in pair if not character.isspace()}))
    height = float(renderer.levels.heights[0])
    visible = [(characters.index(a), characters.index(b)) for a, b in pairs if not (a.isspace() or b.isspace())]
    found = []
    for face in renderer.faces if visible else ():
        distances = similarity.measure_glyph_distances(face, characters, height)
        names = [name_character(character) for character in characters]
        found += [(float(distances[i, j]), face.name, f"{names[i]} and {names[j]}") for i, j in visible]
    alike = similarity.find_alike_values(renderer.spec, renderer.faces, height, SAME_GLYPH_DISTANCE)
    if alike:
        one, two = alike[0]
        pairs_of = dict.fromkeys(
            f"{name_character(a)} and {name_character(b)}" for a, b in zip(one, two, strict=True) if a != b
        )
        detail = f"{one!r} and {two!r} are different classes and look the same: {', '.join(pairs_of)}; remove one"
        return Check("glyphs", FAIL, 0.0, detail, [{"value": a, "looks like": b} for a, b in alike[:MAX_GLYPH_ROWS]])
    if not found:
        return Check("glyphs", OK, 1.0, "no two classes differ in a single character")
    found.sort()
    worst, name, pair = found[0]
    similar = sum(distance < SIMILAR_GLYPH_DISTANCE for distance, *_ in found)
    status = FAIL if worst < SAME_GLYPH_DISTANCE else WARN if similar else OK
    detail = f"the two most similar glyphs, {pair} of {name} at {height:g} pixels, have the distance {worst:.3f}"
    if similar:
        detail += f"; {similar} pairs are below {SIMILAR_GLYPH_DISTANCE}: raise text.height or leave out these fonts"
    table: list[Row] = [{"face": name, "pair": pair, "distance": distance} for distance, name, pair in found]
    return Check("glyphs", status, worst, detail, table[:MAX_GLYPH_ROWS])


def _check_legibility(renderer: Renderer, crops: Crops, with_text: Masks) -> list[Check]:
    """Check contrast, height of the ink and rejected draws, over all splits together."""
    samples = np.concatenate([part.samples[with_text[split]] for split, part in crops.items()])
    if not len(samples):
        return []
    least = renderer.game.text.contrast
    checks = [_check_contrast(samples["contrast"], least), _check_height(samples["bottom"] - samples["top"])]
    return [*checks, _check_rejected_draws(crops)]


def _check_contrast(contrasts: NDArray[Any], least: float) -> Check:
    low = float(np.mean(contrasts < LOW_CONTRAST_FACTOR * least))
    counts, edges = np.histogram(contrasts, 24, (0, max(float(contrasts.max()), 1)))
    histogram = {"edges": edges.tolist(), "counts": counts.astype(float).tolist()}
    detail = f"{low:.1%} of the crops have less than {LOW_CONTRAST_FACTOR} times the least contrast {least:g}; "
    detail += f"the median contrast is {np.median(contrasts):.0f}"
    detail += ": change colours or backgrounds" if low > MAX_LOW_CONTRAST else ""
    return Check("contrast", WARN if low > MAX_LOW_CONTRAST else OK, low, detail, [], histogram)


def _check_height(heights: NDArray[Any]) -> Check:
    lowest = int(heights.min())
    too_low = lowest < MIN_INK_HEIGHT
    detail = f"the lowest ink is {lowest} pixels high; 1 % of the crops have at most {np.quantile(heights, 0.01):.0f}"
    if too_low:
        detail += f": below {MIN_INK_HEIGHT} pixels few letters are legible; raise text.height or text.least"
    return Check("height", WARN if too_low else OK, float(lowest), detail)


def _check_rejected_draws(crops: Crops) -> Check:
    rejects = sum((part.rejects for part in crops.values()), Counter[str]())
    drawn = rejects.total() + sum(len(part.labels) for part in crops.values())
    share = rejects.total() / drawn
    table: list[Row] = [{"reason": reason, "share": count / drawn} for reason, count in rejects.most_common()]
    reasons = ", ".join(f"{row['share']:.1%} {row['reason']}" for row in table)
    detail = f"{share:.1%} of the draws were rejected" + (f" ({reasons})" if table else "")
    if share > MAX_REJECTED:
        detail += ": the remaining styles may depend on the text; deal with the most frequent reason"
    return Check("rejected draws", WARN if share > MAX_REJECTED else OK, share, detail, table)
