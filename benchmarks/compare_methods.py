"""Networks of several methods, folds and seeds on the same fresh crops: accuracy, differences, and their uncertainty.

    python benchmarks/compare_methods.py runs/methods --crops 33000

evaluates every finished run below the folder on crops that no training, choice or earlier test saw, and prints a
Markdown table. What was evaluated is kept in the run's folder, so that a second call does only what is missing.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import machine
from scipy.stats import t as student

from textgen.common.atomic import write_atomic
from train.common.environment import set_openmp_waiting
from train.evaluate.crops import LabelledCrops, render_fresh_crops
from train.evaluate.measure import evaluate_run
from train.inference.network import weights_path
from train.report.paper_numbers import IDS
from train.report.result import COPIES, method
from train.report.tables import images_seen
from train.runs.finished_runs import load_result, load_run_definition

HEAD = (
    *("game", "fold", "width", "method", "seeds", "images", "operations", "validation", "fresh crops", "agreement"),
    *("points below the original", "errors ×", "points below copies", "errors ×"),
)


class Key(NamedTuple):
    """What the runs of one network have in common; `images` is the number of images seen in training."""

    fold: int
    width: float
    method: str
    images: int


@dataclass(frozen=True)
class Network:
    """The runs of one network that differ only in their seed.

    `right` (seeds, n) is the share of the groupings in which each of the n fresh crops is read correctly.
    """

    results: list[dict[str, Any]]
    right: NDArray[np.float64]

    @property
    def accuracies(self) -> list[float]:
        """Of each seed, on the fresh crops, in per cent."""
        return [100 * float(accuracy) for accuracy in self.right.mean(1)]

    def below(self, other: Network) -> str:
        """How many points less accurate than `other`, with a 95 % interval for the same crops.

        It contains the sampling of crops, which both networks share, and of seeds where both have several: the variance
        is the sum of var(difference of a crop) / n and of s² / seeds of each, with the degrees of freedom of Welch and
        Satterthwaite, as few seeds tell little of s.
        """
        difference = 100 * (other.right.mean(0) - self.right.mean(0))  # (n,)
        parts = [(difference.var(ddof=1) / len(difference), len(difference) - 1)]  # variances, degrees of freedom
        several = min(len(self.right), len(other.right)) > 1
        if several:
            seeds = [(of.accuracies, len(of.right)) for of in (self, other)]
            parts += [(statistics.variance(accuracies) / n, n - 1) for accuracies, n in seeds]
        variance = sum(part for part, _ in parts)
        if not variance:
            return "0.00"
        freedom = variance**2 / sum(part**2 / of for part, of in parts)
        half = float(student.ppf(0.975, freedom)) * math.sqrt(variance)
        mean = difference.mean()
        return f"{mean:.2f} ({mean - half:.2f} to {mean + half:.2f}{'' if several else ', crops only'})"


def evaluate_on(run: Path, file_name: str, render: Callable[[], LabelledCrops]) -> NDArray[np.float64]:
    """The share of groupings in which each of the crops (n,) that `render` makes is read correctly.

    It is kept in the run's folder as `file_name`, and measured again only if the weights are newer.
    """
    file = run / file_name
    if not file.exists() or file.stat().st_mtime < weights_path(run).stat().st_mtime:
        measured = evaluate_run(run, {"test": render()}, orders=False)
        share = measured.evaluation.groupings_right.numpy() / measured.record["groupings"]
        buffer = io.BytesIO()
        np.save(buffer, share.astype(np.float32), allow_pickle=False)
        write_atomic(file, buffer.getvalue(), "another folder")
    return np.load(file, allow_pickle=False).astype(np.float64)


def tabulate(folder: Path, count: int, data_seed: int, tolerance: float) -> list[list[str]]:
    """The rows of the table, for all finished runs below `folder` that have a game; the runs of a game have its data.

    Runs of one fold, width and method that saw other numbers of images are different networks. Networks whose numbers
    of images differ by more than the share `tolerance` are not compared.
    """
    results = {path.parent: load_result(path.parent) for path in sorted(folder.rglob("result.json"))}
    rows = []
    for game in sorted({result["game"] for result in results.values()}, key=lambda game: IDS.get(game, game)):
        of_game = {run: result for run, result in results.items() if result["game"] == game}
        definition = load_run_definition(next(iter(of_game)))
        if definition is None:
            print(f"{game} is a folder of crops, of which there are no fresh ones: left out", file=sys.stderr)
            continue
        render = cache(partial(render_fresh_crops, definition, count, data_seed))  # only if something is to be measured
        file_name = f"fresh_{data_seed}_{count}.npy"
        runs: dict[Key, list[Path]] = defaultdict(list)
        for run, result in of_game.items():
            runs[Key(result["fold"], result["width"], method(result), images_seen(result) or 0)].append(run)
        found = {
            key: Network([of_game[run] for run in of], np.stack([evaluate_on(run, file_name, render) for run in of]))
            for key, of in sorted(runs.items(), key=lambda item: (item[0].fold, -item[0].width, *item[0][2:]))
        }
        rows += [_row(game, key, network, found, tolerance) for key, network in found.items()]
    return rows


def _row(game: str, key: Key, network: Network, found: Mapping[Key, Network], tolerance: float) -> list[str]:
    slots = key.method == COPIES
    operations = key.images * (1 / key.fold if slots else key.width**2)  # in images of the original
    as_long = {k: of for k, of in found.items() if abs(k.images - key.images) <= tolerance * key.images}
    original = next((of for k, of in as_long.items() if (k.fold, k.width) == (1, 1)), None)
    copies = next((of for k, of in as_long.items() if (k.fold, k.width, k.method) == (*key[:2], COPIES)), None)
    agreement = [100 * result["order_agreement"] for result in network.results if "order_agreement" in result]
    return [
        f"{game} ({IDS[game]})" if game in IDS else game,
        str(key.fold),
        f"{key.width:g}",
        key.method,
        str(len(network.results)),
        f"{key.images / 1000:.0f} k",
        f"{operations / 1000:.0f} k",
        _mean([100 * result["val_accuracy"] for result in network.results]),
        _mean(network.accuracies),
        "by construction" if slots else _mean(agreement),
        *_compare(network, original),
        *_compare(network, copies),
    ]


def _compare(network: Network, other: Network | None) -> tuple[str, str]:
    """How many points `network` is below `other`, and how many times as many errors it makes."""
    if other is None or other is network:
        return "", ""
    errors, of_other = (100 - statistics.mean(of.accuracies) for of in (network, other))
    return network.below(other), f"{errors / of_other:.2f}" if of_other else ""


def _mean(values: Sequence[float]) -> str:
    """Mean and standard deviation, as far as there are values."""
    if not values:
        return ""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of runs")
    parser.add_argument("--crops", type=int, default=33_000, help="fresh crops of each game")
    parser.add_argument(
        "--data-seed", type=int, default=20, help="of the crops: one that no training and no choice may use"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.05, help="share by which the images of compared networks may differ"
    )
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for row in tabulate(arguments.folder, arguments.crops, arguments.data_seed, arguments.tolerance):
        print(f"| {' | '.join(row)} |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    set_openmp_waiting()
    main()
