"""Epochs told to TensorBoard and MLflow, beside metrics.jsonl."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textgen.errors import UserError

Told = Callable[[dict[str, Any]], None]


@contextmanager
def opened(loggers: Sequence[str], folder: Path, runs: Path, config: Mapping[str, Any]) -> Iterator[Told]:
    """A function that tells the numbers of an epoch's mapping, by name, to each of `loggers`.

    TensorBoard reads `folder`; MLflow has one database for all, mlflow.db in `runs`. Raises `UserError` for one that
    is not installed.
    """
    for name in loggers:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"log={name} needs {name}: pip install 'foldtext[{name}]', or leave log out")
    open_ = {"tensorboard": _tensorboard, "mlflow": _mlflow}
    tellers = [open_[name](folder, runs, config) for name in loggers]

    def tell(line: dict[str, Any]) -> None:
        numbers = {key: float(value) for key, value in line.items() if key != "epoch"}
        for teller, _ in tellers:
            teller(numbers, line["epoch"])

    try:
        yield tell
    finally:
        for _, close in tellers:
            close()


Teller = tuple[Callable[[dict[str, float], int], None], Callable[[], None]]


def _tensorboard(folder: Path, runs: Path, config: Mapping[str, Any]) -> Teller:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415, optional

    writer = SummaryWriter(str(folder))

    def tell(numbers: dict[str, float], epoch: int) -> None:
        for key, value in numbers.items():
            writer.add_scalar(key, value, epoch)

    return tell, writer.close


def _mlflow(folder: Path, runs: Path, config: Mapping[str, Any]) -> Teller:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415, optional

    client = MlflowClient(f"sqlite:///{(runs / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("foldtext")
    number = experiment.experiment_id if experiment else client.create_experiment("foldtext")
    kept = folder / "mlflow_run.txt"  # a run that goes on is the same one there
    if not kept.exists():
        run = client.create_run(number, run_name=folder.name).info.run_id
        for key in ("fold", "width", "seed"):
            client.log_param(run, key, config[key])
        kept.write_text(run, encoding="utf-8")
    run = kept.read_text(encoding="utf-8")

    def tell(numbers: dict[str, float], epoch: int) -> None:
        for key, value in numbers.items():
            client.log_metric(run, key, value, step=epoch)

    return tell, lambda: client.set_terminated(run)
