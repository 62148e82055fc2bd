"""Several processes that train one network: those that torchrun starts, on the CPU, against one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import parallel_cases
import pytest
import torch
from conftest import ROOT, composed
from parallel_cases import train_case
from safetensors.torch import load_file

from train.common.parallel import Group
from train.data.sources import DeviceSplit
from train.runs.run import run
from train.trainer.shares import Share

SMALL = [
    *("game=apex_count", "game.images.train=24", "game.images.val=4", "game.images.test=5", "augment=off"),
    *("workers=1", "threads=1", "groupings=2", "device=cpu", "data=files", "fold=4", "batch=60"),
    *("recipe=paper", "recipe.optimizer=sgd", "recipe.lr=0.01"),  # without norms rounding grows little
]
CASES = [*parallel_cases.CASES]
TIMES = ("images_per_second", "train_seconds", "seconds")


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One folder for all tests of this file, so that the data set is rendered once."""
    SMALL.append(f"data_dir={tmp_path_factory.mktemp('data')}")


def torchrun(*arguments: str | Path) -> list[str | Path]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*launch, *arguments]


def start(*settings: str) -> subprocess.Popen[str]:
    """`torchrun -m train` with two processes."""
    command = torchrun("-m", "train", *SMALL, *settings)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train_with_two(*settings: str) -> dict[str, Any]:
    process = start(*settings)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    folder = Path(next(setting for setting in settings if setting.startswith("out=")).removeprefix("out="))
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert out.count("test accuracy") == 1 + bool(result["teacher"])
    return result


def stop_while_training(*settings: str, how: signal.Signals = signal.SIGTERM) -> str:
    """Start two processes, let torchrun stop them after a few steps, and return what they printed on stderr."""
    folder = Path(next(setting for setting in settings if setting.startswith("out=")).removeprefix("out="))
    process = start(*settings, "save_every=0")
    while not (folder / "checkpoint.old.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err  # torchrun's own
    return err


def assert_close(one: Path, other: Path, tolerance: float) -> None:
    """Two runs ended alike: metrics differ by `tolerance` at most, and weights by ten times that of the largest."""
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    largest = max(weight.abs().max().item() for weight in weights.values())
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=0, atol=10 * tolerance * largest)
    lines, other_lines = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (one, other)
    )
    assert len(lines) == len(other_lines) > 0
    for line, other_line in zip(lines, other_lines, strict=True):
        for key in line.keys() - TIMES:
            few = tolerance and 0.03 * key.endswith("accuracy")  # images between two classes
            assert other_line[key] == pytest.approx(line[key], rel=tolerance, abs=max(tolerance, few)), key


@pytest.mark.parametrize(("images", "stack"), [(128, 4), (60, 4), (10, 2), (6, 3), (4, 4), (7, 1)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_whole_stacks_and_make_up_the_batch(images: int, stack: int, size: int) -> None:
    shares = [Share.of_batch(images, stack, Group(rank, size)) for rank in range(size)]
    counted = [share.rows for share in shares if share.counts]
    assert [row for rows in counted for row in range(images)[rows]] == list(range(images))
    for share in shares:
        assert share.images == len(range(images)[share.rows]) > 0
        assert share.images % stack == 0
    assert max(share.images for share in shares) - min(share.images for share in shares) <= stack


def test_rows_of_batches_are_the_same_images_also_where_the_last_batch_is_larger() -> None:
    images = torch.randint(256, (22, 2, 3, 3), dtype=torch.uint8)
    source, batches = DeviceSplit(images, torch.zeros(22, dtype=torch.long)), torch.randperm(22).split([10, 12])
    whole = list(source.batches(0, batches))
    assert [len(batch) for batch in whole] == [10, 12]
    parts = list(source.batches(0, batches, [slice(0, 4), slice(4, 12)]))
    assert torch.equal(parts[0], whole[0][:4])
    assert torch.equal(parts[1], whole[1][4:])


@pytest.mark.parametrize("names", [CASES[:3], pytest.param(CASES[3:], marks=pytest.mark.slow)])
def test_two_processes_take_the_steps_of_one(tmp_path: Path, names: list[str]) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    program = Path(__file__).with_name("parallel_cases.py")
    process = subprocess.Popen(torchrun(program, tmp_path, *names), env=env, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in names:
        weights, history = train_case(name, tmp_path / name)
        for key, weight in weights.items():
            torch.testing.assert_close(first[name][0][key], weight, rtol=0, atol=1e-6, msg=f"{name}, {key}")
            assert torch.equal(first[name][0][key], second[name][0][key]), f"{name}, {key}"
        for line, of_two in zip(history, first[name][1], strict=True):
            for key in line.keys() - TIMES:
                assert of_two[key] == pytest.approx(line[key], abs=1e-5), f"{name}, {key}"


@pytest.mark.slow
def test_two_processes_are_stopped_and_one_goes_on(tmp_path: Path) -> None:
    whole = run(composed(*SMALL, "epochs=6", f"out={tmp_path / 'whole'}"))
    told = stop_while_training("epochs=6", f"out={tmp_path / 'stopped'}")
    assert told.count("the same command goes on from there") == 1
    assert not (tmp_path / "stopped/result.json").exists()
    resumed = run(composed(*SMALL, "epochs=6", f"out={tmp_path / 'stopped'}"))
    assert (whole["processes"], resumed["processes"]) == ([1], [2, 1])
    assert resumed["identity"] == whole["identity"]
    assert_close(tmp_path / "whole", tmp_path / "stopped", 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_that_were_stopped_end_with_the_bits_of_two_that_were_not(
    tmp_path: Path, how: signal.Signals
) -> None:
    settings = ("epochs=6", "recipe.norm=true", "recipe.dropout=0.2", "recipe.order_consistency=1")
    train_with_two(*settings, f"out={tmp_path / 'whole'}")
    stop_while_training(*settings, f"out={tmp_path / 'stopped'}", how=how)
    result = train_with_two(*settings, f"out={tmp_path / 'stopped'}")
    assert result["processes"] == [2]
    assert_close(tmp_path / "whole", tmp_path / "stopped", 0)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_and_the_same_command_goes_on(tmp_path: Path) -> None:
    settings = ("epochs=6", f"out={tmp_path / 'killed'}")
    process = start(*settings, "save_every=0")
    while not (tmp_path / "killed/checkpoint.old.pt").exists():
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(child) for child in children if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes()]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 1
    run(composed(*SMALL, "epochs=6", f"out={tmp_path / 'whole'}"))
    train_with_two(*settings)
    assert_close(tmp_path / "whole", tmp_path / "killed", 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("data=live",), id="live"),
        pytest.param(("recipe.distill={loss: kl, temperature: 2, weight: 0.5}",), id="distilled"),
        pytest.param(("fold=1",), id="single-images"),
    ],
)
def test_whole_runs_of_two_processes_end_as_those_of_one(tmp_path: Path, settings: tuple[str, ...]) -> None:
    few = (*settings, "epochs=2")
    run(composed(*SMALL, *few, f"runs={tmp_path / 'one'}", f"out={tmp_path / 'one/run'}"))
    train_with_two(*few, f"runs={tmp_path / 'two'}", f"out={tmp_path / 'two/run'}")
    assert_close(tmp_path / "one/run", tmp_path / "two/run", 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("epochz=3",), "error: no setting 'epochz' here: did you mean epochs?"),
        (("device=cuda:1",), "error: device=cuda:1 is one device, and torchrun has started 2 processes:"),
        (("compile=true",), "error: compile=true is for one process, and these are 2:"),
        (("epochs=2", "recipe.lr=1e30"), "error: the loss of epoch"),
        (("-m", "seed=0,1", "hydra/launcher=joblib"), "torchrun is for the command train alone"),
    ],
)
def test_an_error_of_the_user_is_told_once_and_ends_all(
    tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    runs = f"runs={tmp_path}" if "-m" in settings else f"out={tmp_path / 'run'}"
    process = start(*settings, runs)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1  # torchrun's own
    assert "exitcode  : 2 " in err or "-m" in settings  # of a process
    said = err.partition("torch/distributed/elastic")[0]
    assert message in said
    assert said.count("error: ") == 1 or "-m" in settings
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_command_that_does_not_train_is_refused() -> None:
    process = subprocess.run(torchrun("-m", "train.evaluate", "run=x"), capture_output=True, text=True, check=False)
    assert process.stderr.count("error: torchrun is for training: start python -m train.evaluate without it") == 1
