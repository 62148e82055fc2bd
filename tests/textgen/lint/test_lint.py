"""The lint passes the six games and fails data sets in which the class depends on more than its text. All seeded."""

import copy
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from conftest import Config, changed, load
from fontTools.ttLib import TTFont
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray

import textgen.lint.main
from textgen.common.array_types import U8
from textgen.lint import leaks, similarity
from textgen.lint.checks import FAIL, OK, WARN, Check, run_checks
from textgen.lint.report import Report, lint
from textgen.render.renderer import RenderedCrops, Renderer
from textgen.schema.game import Game
from textgen.schema.split import Holdout

LIGHT = load("augment", "light")
DIGITS: Config = {
    "name": "digits",
    "spec": "X",
    "label": "X",
    "size": [18, 24],
    "images": {"train": 1, "val": 1, "test": 1},
    "text": {"fonts": ["oswald", "rajdhani"], "height": [7, 10], "colors": ["#ffffff", "#ffd97a"]},
    "backgrounds": [{"source": "noise"}, {"source": "scene"}],
}
NEVER = 1e-6  # a weight so small that these tests never draw it


def renderer_of(config: Config, **more: Any) -> Renderer:
    return Renderer(Game.from_config(config), 0, LIGHT, **more)


@pytest.fixture(scope="module")
def fair() -> Renderer:
    return renderer_of(DIGITS)


@pytest.fixture(scope="module")
def crops(fair: Renderer) -> dict[str, RenderedCrops]:
    """40 crops a class of train, 20 of val and test."""
    classes = len(fair.classes)
    return {split: fair.render(split, range(n * classes)) for split, n in (("train", 40), ("val", 20), ("test", 20))}


class ClassDependent(Renderer):
    """Draws even classes with one configuration and odd classes with another."""

    def __init__(self, config: Config, other: Config, share: float = 1.0):
        super().__init__(Game.from_config(config), 0, LIGHT)
        self.parts = [self, renderer_of(other)]
        self.share = share  # of the samples drawn like this; the rest is drawn with the first configuration

    def _draw_once(self, split: str, samples: NDArray[Any], codes: NDArray[np.uint16], images: U8) -> None:
        dependent = samples["index"] // len(self.classes) % 100 < 100 * self.share
        other = (samples["label"] % 2 == 1) & dependent
        for part, mine in zip(self.parts, (~other, other), strict=True):
            one = copy.copy(part)
            one._program = self._program
            part_samples, part_codes, part_images = samples[mine], codes[mine], images[mine]
            if len(part_samples):
                Renderer._draw_once(one, split, part_samples, part_codes, part_images)
                samples[mine], codes[mine], images[mine] = part_samples, part_codes, part_images


def check_of(checks: list[Check] | Report, name: str) -> Check:
    found = checks.checks if isinstance(checks, Report) else checks
    return next(check for check in found if check.name == name)


def failed(checks: list[Check] | Report) -> set[str]:
    found = checks.checks if isinstance(checks, Report) else checks
    return {check.name for check in found if check.status == FAIL}


def two_ways(key: str, one: object, other: object) -> tuple[Config, Config]:
    return changed(DIGITS, key, one), changed(DIGITS, key, other)


# The six games, and the report.


def test_every_game_passes(game_name: str) -> None:
    report = lint(renderer_of(load("game", game_name)), each=20)
    assert not report.failed, report.text()
    assert {check.status for check in report.checks} <= {OK, WARN}


def test_report_is_a_page_and_plain_data(fair: Renderer) -> None:
    report = lint(fair, each=40)
    assert not report.failed, report.text()
    lines = report.text().splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 120
    assert json.loads(json.dumps(report.to_dict()))["failed"] is False
    assert report.crops == {split: 40 * len(fair.classes) for split in ("train", "val", "test")}
    histogram = check_of(report, "contrast").histogram
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    again = lint(fair, each=40)
    assert again.checks == report.checks


def test_too_few_crops_are_not_tested_for_associations(fair: Renderer) -> None:
    report = lint(fair, each=2)
    assert not report.failed
    assert check_of(report, "class and style").status == WARN
    assert "raise each" in check_of(report, "class and style").detail


def test_one_class_with_text_is_not_tested() -> None:
    report = lint(renderer_of({**DIGITS, "fields": {"X": ["7"]}}), each=30)
    assert check_of(report, "class and style").status == OK
    assert not report.failed


# Leaks.


@pytest.mark.parametrize(
    ("key", "one", "other", "attributes"),
    [
        ("text.fonts", {"oswald": 1, "rajdhani": NEVER}, {"oswald": NEVER, "rajdhani": 1}, ("face",)),
        ("text.colors", ["#ffffff"], ["#ffd97a"], ("red", "green", "blue")),
        ("text.x", [0, 0.6], [0.4, 1], ("x", "left, of equal widths")),
        ("text.y", [0, 0.6], [0.4, 1], ("y", "top, of equal heights")),
        ("text.outline", {"chance": 1}, {"chance": NEVER}, ("outline",)),
        ("backgrounds.0.weight", 9, 0.1, ("source", "canvas")),
    ],
)
def test_dependence_of_style_on_the_class_fails(
    key: str, one: object, other: object, attributes: tuple[str, ...]
) -> None:
    report = lint(ClassDependent(*two_ways(key, one, other)), each=200)
    found = check_of(report, "class and style")
    assert found.status == FAIL, report.text()
    assert found.table[0]["style"] in attributes
    assert "style alone" in failed(report)
    assert ("background alone" in failed(report)) == key.startswith("backgrounds")


def test_dependence_in_the_pixels_alone_fails() -> None:
    """No sample records its light: only the pixels show it."""
    one, other = (
        {**DIGITS, "backgrounds": [{**part, "light": light} for part in DIGITS["backgrounds"]]}
        for light in ([0.5, 0.8], [0.8, 1.2])
    )
    report = lint(ClassDependent(one, other), each=200)
    assert failed(report) == {"background alone"}, report.text()


def test_dependence_in_a_tenth_of_the_crops_is_found() -> None:
    fonts = {"oswald": 1, "rajdhani": NEVER}, {"oswald": NEVER, "rajdhani": 1}
    found = check_of(lint(ClassDependent(*two_ways("text.fonts", *fonts), share=0.1), each=200), "class and style")
    assert found.status in (WARN, FAIL)
    assert found.table[0]["style"] == "face"


def test_the_width_of_a_text_is_no_leak(rng: np.random.Generator) -> None:
    """The box of a wide text begins further left, because of its width alone."""
    labels = rng.integers(0, 10, 5000)
    widths = 8 + labels
    lefts = np.floor(rng.random(5000) * (30 - widths + 1)).astype(np.int64)
    assert leaks.cramers_v(labels, lefts).effect > 0.1
    assert leaks.cramers_v(labels, leaks.bin_by_quantiles(leaks.rank_within(lefts, widths, rng))).p > 0.01


def test_crops_without_text_are_the_same_crops(fair: Renderer, crops: dict[str, RenderedCrops]) -> None:
    some = crops["train"]
    drawn = fair.render_without_text("train", some.samples)
    blank = some.samples["right"] == 0
    np.testing.assert_array_equal(drawn[blank], some.images[blank])
    assert (drawn[~blank] != some.images[~blank]).any((1, 2, 3)).all()


# Splits.


def test_a_split_that_repeats_another_fails(fair: Renderer, crops: dict[str, RenderedCrops]) -> None:
    repeating = {**crops, "test": picked(crops["train"], np.arange(220))}
    assert {"copies", "near copies"} <= failed(run_checks(fair, repeating))


def test_copies_with_other_noise_fail(
    fair: Renderer, crops: dict[str, RenderedCrops], rng: np.random.Generator
) -> None:
    same = picked(crops["train"], np.arange(220))
    worn = np.empty_like(same.images)
    for image, source in zip(worn, same.images, strict=True):
        noisy = np.clip(source + rng.normal(0, 5, source.shape), 0, 255).astype(np.uint8)
        image[:] = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR)
    checks = run_checks(fair, {**crops, "test": dataclasses.replace(same, images=worn)})
    assert "near copies" in failed(checks)
    assert "copies" not in failed(checks)


def test_held_out_assets_appear_in_their_test_sets_only() -> None:
    renderer = renderer_of(DIGITS, holdout=Holdout(fonts=0.5, backgrounds=0.2))
    report = lint(renderer, each=30)
    assert check_of(report, "held out").status == OK, report.text()
    assert len(check_of(report, "held out").table) == 8

    crops = {split: renderer.render(split, range(330)) for split in renderer.splits}
    for kind in ("fonts", "backgrounds"):
        found = check_of(run_checks(renderer, {**crops, f"test_{kind}": crops["train"]}), "held out")
        assert found.status == FAIL
        assert kind in found.detail


def test_other_texts_on_one_background_are_no_copies() -> None:
    """Every crop shows the whole background image."""
    text = {**DIGITS["text"], "height": [10, 20]}
    report = lint(renderer_of({**DIGITS, "size": [120, 180], "text": text}), each=20)
    assert check_of(report, "near copies").figure < 0.01, report.text()


# Classes.


def test_unbalanced_classes_fail(fair: Renderer, crops: dict[str, RenderedCrops]) -> None:
    kept = np.flatnonzero((crops["train"].labels != 3) | (np.arange(440) < 200))
    assert "balance" in failed(run_checks(fair, {**crops, "train": picked(crops["train"], kept)}))


def test_sorted_classes_fail(fair: Renderer, crops: dict[str, RenderedCrops]) -> None:
    ordered = picked(crops["train"], np.argsort(crops["train"].labels, kind="stable"))
    assert failed(run_checks(fair, {**crops, "train": ordered})) == {"order"}


def picked(crops: RenderedCrops, rows: NDArray[np.int64]) -> RenderedCrops:
    texts = [crops.texts[row] for row in rows.tolist()]
    return RenderedCrops(crops.images[rows], crops.labels[rows], texts, crops.samples[rows], crops.rejects)


def test_rejected_draws_warn(fair: Renderer, crops: dict[str, RenderedCrops]) -> None:
    rejecting = {**crops, "val": dataclasses.replace(crops["val"], rejects=Counter({"too large": 900}))}
    found = check_of(run_checks(fair, rejecting), "rejected draws")
    assert found.status == WARN
    assert found.table[0]["reason"] == "too large"


# Glyphs.


def twins(folder: Path, same: bool) -> Config:
    """A game of the classes 0, O and 1 in a font in which O is the 0, if `same`."""
    with TTFont(Path(__file__).parents[3] / "fonts" / "oswald" / "oswald-400.ttf") as font:
        for table in font["cmap"].tables:
            if same and table.isUnicode():
                table.cmap[ord("O")] = table.cmap[ord("0")]
        folder.mkdir(exist_ok=True)
        font.save(folder / "twins.ttf")
    text = {**DIGITS["text"], "fonts": [f"{folder}/"]}
    return {**DIGITS, "text": text, "fields": {"X": ["0", "O", "1"]}}


def test_glyphs_that_are_the_same_fail(tmp_path: Path) -> None:
    found = check_of(lint(renderer_of(twins(tmp_path / "same", True)), each=10), "glyphs")
    assert found.status == FAIL
    assert found.table[0] == {"face": "twins", "pair": "0 and O", "distance": 0.0}
    found = check_of(lint(renderer_of(twins(tmp_path / "own", False)), each=10), "glyphs")
    assert found.status != FAIL


def lettered(values: list[str], folder: Path) -> Config:
    """A game of these values in a font in which Cyrillic letters have the glyphs of the Latin ones."""
    with TTFont(Path(__file__).parents[3] / "fonts" / "oswald" / "oswald-400.ttf") as font:
        for table in font["cmap"].tables:
            if table.isUnicode():
                table.cmap |= {ord(a): table.cmap[ord(b)] for a, b in zip("АВСЯ", "ABCR", strict=True)}
        folder.mkdir(exist_ok=True)
        font.save(folder / "letters.ttf")
    text = {**DIGITS["text"], "fonts": [f"{folder}/"], "height": [8, 9]}
    return {**DIGITS, "text": text, "size": [22, 52], "fields": {"X": values}}


@pytest.mark.parametrize(("one", "two"), [("ABC", "АВС"), ("AB", "АВ"), ("1A", "1А")])
def test_classes_in_letters_of_two_scripts_that_look_the_same_fail(tmp_path: Path, one: str, two: str) -> None:
    found = check_of(lint(renderer_of(lettered([one, "7", two], tmp_path)), each=10), "glyphs")
    assert found.status == FAIL
    assert "A and А (U+0410)" in found.detail
    assert repr(one) in found.detail
    assert repr(two) in found.detail


def test_letters_of_two_scripts_that_differ_pass(tmp_path: Path) -> None:
    assert check_of(lint(renderer_of(lettered(["ABC", "АЯС", "7"], tmp_path)), each=10), "glyphs").status != FAIL


@pytest.mark.parametrize(
    ("spec", "fields", "other", "pairs"),
    [
        ("X.Yk", {"X": ["0", "O", "12"]}, "", {("0", "O")}),  # not the digits of Y
        ("X", {"X": ["7", "07", "17"]}, "", {("0", "1")}),
        ("X:YY", {"X": ["1", "2"]}, "X.YY", {("1", "2"), (".", ":")}),
    ],
)
def test_pairs_of_characters_that_distinguish_classes(
    spec: str, fields: Mapping[str, object], other: str, pairs: set[tuple[str, str]]
) -> None:
    parsed = Game.from_config({**DIGITS, "spec": spec, "fields": fields, "other": other}).parse_spec()
    texts = [parsed.sample("other", np.random.default_rng(seed)) for seed in range(20)]
    assert similarity.find_distinguishing_pairs(parsed, texts) == pairs


# Statistics.


@pytest.mark.parametrize(("classes", "values", "n"), [(2, 2, 300), (11, 40, 400), (30, 5, 3000)])
def test_p_is_uniform_for_independent_attributes(classes: int, values: int, n: int, rng: np.random.Generator) -> None:
    shares = rng.dirichlet(np.ones(values))
    labels = np.arange(n) % classes
    ps = np.array([leaks.cramers_v(labels, rng.choice(values, n, p=shares)).p for _ in range(1000)])
    for p in (0.5, 0.1, 0.01):
        assert abs(np.mean(ps < p) - p) < 4 * np.sqrt(p * (1 - p) / 1000) + 0.03 * p


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_effect_is_the_share_of_dependent_samples(share: float, rng: np.random.Generator) -> None:
    labels, values = np.arange(20_000) % 111, rng.integers(0, 37, 20_000)
    dependent = rng.random(20_000) < share
    values[dependent] = labels[dependent] % 37
    found = leaks.cramers_v(labels, values)
    assert found.effect == pytest.approx(share, abs=0.02)
    assert found.p < 1e-6


def test_a_constant_attribute_has_no_association() -> None:
    assert leaks.cramers_v(np.arange(100) % 3, np.zeros(100, np.int64)) == leaks.Association(0.0, 1.0)


def test_a_probe_is_at_chance_without_and_above_it_with_dependence(rng: np.random.Generator) -> None:
    labels, features = np.arange(3000) % 10, rng.standard_normal((3000, 20)).astype(np.float32)
    blind = leaks.probe(features, labels, rng, hidden_features=50)
    assert blind.tested == 3000
    assert blind.interval(3)[0] < blind.chance == 0.1 < blind.interval(3)[1]
    features[:, 4] += labels
    assert leaks.probe(features, labels, rng, hidden_features=50).interval(3)[0] > 0.15


def test_many_classes_are_probed_in_groups(rng: np.random.Generator) -> None:
    labels = np.arange(6000) % 1000
    result = leaks.probe(leaks.encode_one_hot([labels % 500]), labels, rng)
    assert result.chance < 0.01
    assert result.accuracy > 0.3


# The command.


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in this process, in an empty folder, and return the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(arguments: Iterable[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["foldtext-lint", *arguments])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as caught:
            textgen.lint.main.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


def test_exit_codes(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "game").mkdir()
    for name, config in (("digits", DIGITS), ("twins", twins(tmp_path / "fonts", True))):
        (tmp_path / "game" / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    mine = f"--config-dir={tmp_path}"

    assert run([mine, "game=digits", "each=30"]) == 0
    assert "0 of 13 checks failed" in capsys.readouterr().out
    assert run([mine, "game=twins", "each=10", "format=json", "out=report.json"]) == 1
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["failed"] is True
    assert run([mine, "game=digits", "each=0"]) == 2
    assert "each" in capsys.readouterr().err
    assert run([mine, "game=digits", "each=10", "out=none/report"]) == 2
    assert "out=" in capsys.readouterr().err
