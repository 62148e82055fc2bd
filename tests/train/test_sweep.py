"""A job of a sweep returns the run's validation accuracy, also to sweepers that optimise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SETTINGS = [
    *("game=apex_count", "game.images.train=5", "game.images.val=2", "game.images.test=1", "augment=off", "epochs=1"),
    *("threads=1", "workers=1", "groupings=1", "hydra/sweeper=optuna", "hydra/sweeper/sampler=random"),
    *("hydra.sweeper.sampler.seed=1", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"),
]
SEARCH = ["hydra.sweeper.direction=maximize", "recipe.lr=tag(log, interval(1e-3, 1e-1))"]
BOTH_AT_ONCE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"]
# All sweeps in one process: most of the time is importing.
CODE = """
import json, sys, train.main
sweeps = json.loads(sys.argv[1])
for settings in sweeps:
    print("sweep", file=sys.stderr, flush=True)
    sys.argv[1:] = ["-m", *settings]
    try:
        train.main.main()
    except SystemExit as ended:
        print(f"ended with {ended.code}", file=sys.stderr)
"""


@pytest.mark.slow
def test_optuna_gets_validation_accuracies_of_new_and_finished_runs_and_reasons_of_failed_ones(tmp_path: Path) -> None:
    sweeps = [[*SETTINGS, *SEARCH], [*SETTINGS, *SEARCH, *BOTH_AT_ONCE], [*SETTINGS, "fold=choice(8,9)"]]
    command = [sys.executable, "-c", CODE, json.dumps(sweeps)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    _, first, again, failed = ended.stderr.split("sweep\n")
    assert "ended with 0" in first, first
    assert "ended with 0" in again, again
    assert ended.stdout.count("done before; fresh=true does it again") == 2
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    kept = {}
    for folder in tmp_path.glob("runs/[!.]*/"):
        rate = yaml.safe_load((folder / "config.yaml").read_text())["recipe"]["lr"]
        (epoch,) = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
        kept[rate] = epoch["val_accuracy"]
    assert sorted(kept.values()) == sorted(run["val_accuracy"] for run in runs)
    found = yaml.safe_load((tmp_path / "runs/optimization_results.yaml").read_text())
    assert found["best_value"] == max(kept.values()) == kept[found["best_params"]["recipe.lr"]]
    lines = failed.splitlines()
    assert lines[-1] == "ended with 2"
    assert lines[-2].startswith("error: fold: Input should be less than or equal to 6 (given: ")
    assert sum(line.startswith("failed: ") for line in lines) == 1
    assert "Traceback" not in failed
    assert [text.count("give hydra.sweeper.direction=maximize") for text in (first, again, failed)] == [0, 0, 1]
