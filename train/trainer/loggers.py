"""TensorBoard and MLflow: the metrics of each epoch, in addition to metrics.jsonl."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from train.config.advice import OTHER_RUNS_FOLDER

MLFLOW_RUN = "mlflow_run.txt"
Log = Callable[[dict[str, Any]], None]


def check(loggers: Sequence[str]) -> None:
    """Raise `UserError` for a logger that is not installed."""
    for name in loggers:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"log={name} needs {name}: pip install 'foldtext[{name}]', or leave log out")


def remove_logs(folder: Path) -> None:
    """Remove the logs of a run that is trained again from the beginning."""
    for path in (folder / MLFLOW_RUN, *folder.glob("events.out.tfevents.*")):
        path.unlink(missing_ok=True)


@contextmanager
def open_loggers(loggers: Sequence[str], folder: Path, runs: Path, config: Mapping[str, Any]) -> Iterator[Log]:
    """Gives a function that logs an epoch's metrics, a mapping with "epoch", with each of `loggers`.

    TensorBoard writes to `folder`; MLflow has one database for all runs, mlflow.db in `runs`.
    """
    open_ = {"tensorboard": _tensorboard, "mlflow": _mlflow}
    opened_loggers = [open_[name](folder, runs, config) for name in loggers]

    def log_line(line: dict[str, Any]) -> None:
        numbers = {key: float(value) for key, value in line.items() if key != "epoch"}
        for log, _ in opened_loggers:
            log(numbers, line["epoch"])

    ended = "FAILED"
    try:
        yield log_line
        ended = "FINISHED"
    except KeyboardInterrupt:
        ended = "KILLED"
        raise
    finally:
        for _, close in opened_loggers:
            close(ended)


# Functions that log the numbers of an epoch, and that close the logger with a status as MLflow names it.
Logger = tuple[Callable[[dict[str, float], int], None], Callable[[str], None]]


def _tensorboard(folder: Path, runs: Path, config: Mapping[str, Any]) -> Logger:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415, optional

    writer: SummaryWriter | None = None

    def log(numbers: dict[str, float], epoch: int) -> None:
        nonlocal writer
        if writer is None:  # discards what a killed run logged of later epochs
            writer = SummaryWriter(str(folder), purge_step=None if "test_accuracy" in numbers else epoch)
        for key, value in numbers.items():
            writer.add_scalar(key, value, epoch)

    def close(ended: str) -> None:
        if writer is not None:
            writer.close()

    return log, close


def _mlflow(folder: Path, runs: Path, config: Mapping[str, Any]) -> Logger:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415, optional

    client = MlflowClient(f"sqlite:///{(runs / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("foldtext")
    number = experiment.experiment_id if experiment else client.create_experiment("foldtext")
    kept = folder / MLFLOW_RUN  # a resumed run stays the same run in MLflow
    if not kept.exists():
        run = client.create_run(number, run_name=folder.name).info.run_id
        about = {
            key: config[key] for key in ("fold", "width", "scaling", "align", "seed", "data", "path", "epochs", "batch")
        }
        about |= {"game": config.get("game", {}).get("name"), "recipe": config["recipe"]["name"]}
        for key, value in about.items():
            if value is not None:
                client.log_param(run, key, value)
        write_atomic(kept, run.encode(), OTHER_RUNS_FOLDER)
    run = kept.read_text(encoding="utf-8")

    def log(numbers: dict[str, float], epoch: int) -> None:
        for key, value in numbers.items():
            client.log_metric(run, key, value, step=epoch)

    return log, lambda ended: client.set_terminated(run, ended)
