"""Bounds on ${…}: they hold for each configuration and each value, and a sweep may have any number of jobs."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from textgen.common.config_references import MAX_STEPS, limit_configuration, limit_references
from textgen.common.hydra_app import CONFIG_PATH, FileConfigSource
from textgen.common.hydra_sweep import JobRecords
from textgen.common.job_records import read_records

ROOT = Path(__file__).parents[3]
MANY = MAX_STEPS + 1000


def bomb() -> DictConfig:
    """Three levels, of which each has the one before it fifty times."""
    inner = {f"a{n}": f"${{a{n - 1}}}" * 50 for n in range(1, 4)}
    return OmegaConf.create({"a0": "x", **inner})


def test_one_value_is_bounded_and_the_next_begins_anew() -> None:
    config = OmegaConf.create({"a": 1, "b": "${a}"})
    with limit_references():
        assert sum(config.b for _ in range(MANY)) == MANY
        with pytest.raises(InterpolationResolutionError, match=f"more than {MAX_STEPS:,} interpolations"):
            _ = bomb().a3
        assert config.b == 1
    assert len(bomb().a2) == 50**2 > MAX_STEPS


def test_all_values_of_a_configuration_are_bounded_together() -> None:
    config = OmegaConf.create({"a": 1, "b": ["${a}"] * MANY})
    with limit_references():
        for _ in range(2):
            with limit_configuration(), pytest.raises(InterpolationResolutionError, match="are followed"):
                OmegaConf.to_container(config, resolve=True)
        assert config.b[0] == 1
    assert OmegaConf.to_container(config, resolve=True) == {"a": 1, "b": [1] * MANY}


def test_long_texts_are_bounded() -> None:
    config = OmegaConf.create({"a": "x" * 1_000_000, "b": "${a}" * 20})
    with limit_references(), pytest.raises(InterpolationResolutionError, match="stand for more than"):
        _ = config.b


def test_a_process_that_gets_the_reader_of_files_has_the_bounds() -> None:
    """As the processes that joblib, Ray and Slurm start for jobs."""
    data = pickle.dumps(FileConfigSource("mine", "file:///tmp"))
    code = f"import pickle; from omegaconf import OmegaConf; pickle.loads({data!r})\n"
    code += "c = OmegaConf.create({'a0': 'x', **{f'a{n}': f'${{a{n - 1}}}' * 50 for n in range(1, 4)}})\nc.a3"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    assert "interpolations are followed" in ended.stderr


def test_a_sweep_of_three_thousand_jobs_is_planned(tmp_path: Path) -> None:
    given = ["game=sot_time", f"seed=range(0,{MANY})"]
    with initialize_config_dir(CONFIG_PATH, version_base="1.3"), limit_references():
        config = compose("train", ["game=sot_time", f"runs={tmp_path}"], return_hydra_config=True)
        OmegaConf.set_readonly(config, False)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.overrides.task = given
        JobRecords().on_multirun_start(config)
    assert sum(record.state == "waiting" for record in read_records(tmp_path)) == MANY
