"""Real crops in training: how they replace synthetic ones, and a run that is trained, chosen and tested on them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from counters import count_down, record, write_crops

from textgen.common.errors import UserError
from textgen.spec.parser import Spec
from train.data.real import MixedSource, RealData, load_real_data
from train.data.sources import DeviceSplit
from train.runs.run import run

CLOCK = Spec.parse("M:SS", label="S", fields={"M": "0..9", "S": "00..59"})
SIZE = (14, 28)
CPU = torch.device("cpu")
SETTINGS = ("game=sot_time", "augment=off", "threads=1", "groupings=1")
GAME = {
    **{"name": "clock", "spec": "M:SS", "label": "S", "fields": {"M": "0..9", "S": "00..59"}, "size": list(SIZE)},
    **{"arch": "C8 M B M F", "images": {"train": 4, "val": 1, "test": 1}, "backgrounds": [{"source": "noise"}]},
    "text": {"fonts": ["oswald"], "height": [7, 10]},
}


def of_clock(folder: Path, *settings: str) -> dict[str, Any]:
    """The configuration of a run of a clock, with all its files in `folder`."""
    return {**composed(*SETTINGS, f"data_dir={folder}", f"runs={folder}", *settings), "game": GAME}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled crops of 20 seconds, of which the last ten classes have none."""
    texts, times = count_down(29, 20)
    return write_crops(tmp_path_factory.mktemp("footage") / "crops", record(texts), texts, times)


@pytest.fixture(scope="module")
def real(footage: Path) -> RealData:
    return load_real_data(footage, None, CLOCK.fields, SIZE, CLOCK, 0, CPU)


def make_source(count: int) -> DeviceSplit:
    """Black images, a few of each class."""
    return DeviceSplit(torch.zeros((count, *SIZE, 3), dtype=torch.uint8), torch.arange(count) % len(CLOCK.classes))


def test_footage_is_divided_and_its_characters_make_the_other_classes(real: RealData) -> None:
    assert len(real.train) > 5 * len(real.val.labels) > 0
    assert len(real.test.labels) > 0
    made = {CLOCK.classes[label] for label in real.recombined[1]}
    assert real.characters == "0123456789"
    assert made == {f"{second:02d}" for second in range(60)}
    assert real.val.images.shape[1:] == (*SIZE, 3)


def test_a_share_of_the_images_of_known_classes_is_replaced(real: RealData) -> None:
    source = make_source(61 * 40)
    mixed = MixedSource(source, real, 0.6, 1)
    order = torch.randperm(len(source.labels), generator=torch.Generator().manual_seed(0))
    batches = torch.split(order, 128)
    images = torch.cat(list(mixed.batches(0, batches)))
    replaced = images.flatten(1).any(1)
    other = source.labels[order] == len(CLOCK.classes) - 1
    assert not replaced[other].any()  # no real crop shows no counter
    assert replaced[~other].float().mean().item() == pytest.approx(0.6, abs=0.04)
    assert not source.images.any()  # the source's own images stay as they are
    assert (mixed.labels, mixed.size) == (source.labels, source.size)


def test_batches_depend_on_epoch_and_seed_and_not_on_where_a_run_was_resumed(real: RealData) -> None:
    source = make_source(610)
    batches = torch.split(torch.arange(610), 64)
    first, again = (list(MixedSource(source, real, 0.5, 1).batches(2, batches)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    rest = list(MixedSource(source, real, 0.5, 1).batches(2, batches[4:]))
    assert all(torch.equal(a, b) for a, b in zip(first[4:], rest, strict=True))
    for seed, epoch in ((2, 2), (1, 3)):
        other = next(iter(MixedSource(source, real, 0.5, seed).batches(epoch, batches)))
        assert not torch.equal(first[0], other)


def test_a_run_is_chosen_and_tested_on_real_crops(footage: Path, tmp_path: Path) -> None:
    settings = ["epochs=2", "fold=2", "recipe.batch=32"]
    result = run(of_clock(tmp_path, *settings, f"real={footage}", f"out={tmp_path / 'run'}"))
    about = result["real"]
    assert about["classes_synthetic_only"] == ["other"]
    assert about["classes_shown"] + about["classes_recombined"] == 60
    assert result["tests"]["real"]["images"] == about["test"]
    assert result["settings"]["real_share"] == 0.6
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(
        line["val_accuracy"] * about["val"] == pytest.approx(round(line["val_accuracy"] * about["val"]))
        for line in lines
    )
    page = (tmp_path / "run/report.html").read_text()
    assert "accuracy on real crops" in page
    assert "Mistakes on real crops" in page
    other = run(of_clock(tmp_path, *settings, f"real={footage}", "real_share=0.3", f"out={tmp_path / 'other'}"))
    assert other["identity"] != result["identity"]
    other_footage = shutil.copytree(footage, tmp_path / "other_footage")
    with_test = run(
        of_clock(tmp_path, *settings, f"real={footage}", f"real_test={other_footage}", f"out={tmp_path / 'tested'}")
    )
    assert with_test["tests"]["real"]["images"] == 200


def test_without_a_share_all_real_crops_are_a_test_set(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(of_clock(tmp_path, "epochs=1", f"real={footage}", "real_share=0"))
    assert result["tests"]["real"]["images"] == 200
    assert result["real"] is None
    assert "not tested on real footage" not in capsys.readouterr().out
    run(of_clock(tmp_path, "epochs=1"))
    assert "not tested on real footage" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["real_test={footage}"], "real_test=.* is for a run that trains on real crops: give real=…"),
        (["real={footage}", "real_share=0", "real_test={footage}"], "real_test=.*: give real_share above 0"),
        (["real={footage}", "real_test={footage}/../crops"], "real_test=.* is the folder that is trained on"),
        (["real=nowhere"], "real=nowhere is no folder"),
        (["real={footage}", "real_test=nowhere"], "real_test=nowhere is no folder"),
        (["real={footage}", "real_share=2"], "real_share"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: list[str], problem: str, footage: Path, tmp_path: Path) -> None:
    given = [setting.format(footage=footage) for setting in settings]
    with pytest.raises(UserError, match=problem):
        run(of_clock(tmp_path, "epochs=1", *given))


def test_footage_whose_neighbours_are_far_apart_is_trained_on_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, times = count_down(59, 20)
    folder = write_crops(tmp_path / "crops", record(texts)[::10], texts[::10], times[::10])  # one each second
    real = load_real_data(folder, None, CLOCK.fields, SIZE, CLOCK, 0, CPU)
    assert (len(real.recombined[1]), real.characters) == (0, "")
    assert "no text is seen to change within 0.5 s" in capsys.readouterr().err


def test_footage_too_short_to_be_divided_is_refused(tmp_path: Path) -> None:
    texts, times = count_down(59, 1)
    folder = write_crops(tmp_path / "crops", record(texts)[:4], texts[:4], times[:4])
    with pytest.raises(UserError, match=r"has 4 labelled crops, too few for .*: give more footage"):
        load_real_data(folder, None, CLOCK.fields, SIZE, CLOCK, 0, CPU)
