"""A sweep on Ray, on Slurm's local stand-in and one job after another: the same networks, also where a node is lost."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from sweeps import Cluster

SMALL = ["game.images.train=40", "game.images.val=4", "game.images.test=2", "groupings=1", "threads=1", "workers=1"]
JOBS = ["-m", "game=apex_count", "seed=1,2,3,4", "recipe=paper", "epochs=8", *SMALL]


def sweep(folder: Path, name: str, *launcher: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train", *JOBS, f"runs={name}", *launcher]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)


def digests(runs: Path) -> dict[str, str]:
    paths = [path.with_name("model.safetensors") for path in runs.glob("*/result.json")]
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
def test_ray_with_a_node_that_is_killed_and_submitit_give_the_same_networks(tmp_path: Path) -> None:
    assert sweep(tmp_path, "alone").returncode == 0
    expected = digests(tmp_path / "alone")
    assert len(expected) == 4
    ended = sweep(tmp_path, "submitit", "hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1")
    assert ended.returncode == 0, ended.stderr
    assert digests(tmp_path / "submitit") == expected

    killed: list[float] = []
    with Cluster() as cluster:

        def kill_while_both_nodes_work() -> None:
            records = tmp_path / "ray" / ".jobs"
            while sum('"running"' in path.read_text() for path in records.glob("*.json")) < 2:
                time.sleep(0.02)
            cluster.kill_second_node()
            killed.append(time.monotonic())

        threading.Thread(target=kill_while_both_nodes_work, daemon=True).start()
        ray = ["hydra/launcher=ray", f"hydra.launcher.address={cluster.address}"]
        ended = sweep(tmp_path, "ray", *ray)
        assert ended.returncode == 0, ended.stderr
        assert killed
        assert digests(tmp_path / "ray") == expected
        assert "4 of 4: seed=" in ended.stderr
        states = [json.loads(path.read_text())["state"] for path in (tmp_path / "ray" / ".jobs").glob("*.json")]
        assert states == ["done"] * 4
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").glob("*/model.safetensors")}
        assert sweep(tmp_path, "ray", *ray).returncode == 0
        assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished job was done again"


@pytest.mark.slow
def test_no_ray_cluster_is_told_in_one_line(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "ray", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: no Ray cluster answers at 127.0.0.1:1 (")
    assert "Traceback" not in ended.stderr
