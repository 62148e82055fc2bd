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
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import machine

from textgen.common.atomic import write_atomic
from train.common.environment import set_openmp_waiting
from train.evaluate.crops import LabelledCrops, render_fresh_crops
from train.evaluate.measure import evaluate_run
from train.report.paper_numbers import IDS
from train.report.result import method
from train.report.tables import images_seen
from train.runs.finished_runs import load_result, load_run_definition

HEAD = (
    *("game", "fold", "width", "method", "seeds", "images", "operations", "validation", "fresh crops", "agreement"),
    *("points below the original", "points below copies"),
)


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

        It contains the sampling of crops, which both networks share, and of seeds where both have several:
        var = var(difference of a crop) / n + s² / seeds of each.
        """
        difference = 100 * (other.right.mean(0) - self.right.mean(0))  # (n,)
        variance = difference.var(ddof=1) / len(difference)
        several = min(len(self.right), len(other.right)) > 1
        if several:
            variance += sum(statistics.variance(of.accuracies) / len(of.right) for of in (self, other))
        half = 1.96 * math.sqrt(variance)
        mean = difference.mean()
        return f"{mean:.2f} ({mean - half:.2f} to {mean + half:.2f}{'' if several else ', crops only'})"


def evaluate_on(run: Path, crops: LabelledCrops) -> NDArray[np.float64]:
    """The share of groupings in which each crop (n,) is read correctly, from the run's folder if it is there."""
    about = f"{crops.about['data_seed']}_{len(crops.labels)}"
    file = run / f"fresh_{about}.npy"
    if not file.exists():
        measured = evaluate_run(run, {"test": crops}, orders=False)
        share = measured.evaluation.groupings_right.numpy() / measured.record["groupings"]
        buffer = io.BytesIO()
        np.save(buffer, share.astype(np.float32), allow_pickle=False)
        write_atomic(file, buffer.getvalue(), "another folder")
    return np.load(file, allow_pickle=False).astype(np.float64)


def tabulate(folder: Path, count: int, data_seed: int) -> list[list[str]]:
    """The rows of the table, for all finished runs below `folder`."""
    by_game: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("result.json")):
        by_game[load_result(path.parent)["game"]].append(path.parent)
    rows = []
    for game in sorted(by_game, key=lambda game: IDS.get(game, game)):
        runs = by_game[game]
        crops = render_fresh_crops(load_run_definition(runs[0]), count, data_seed)
        networks: dict[tuple[int, float, str, int], list[Path]] = defaultdict(list)
        for run in runs:
            result = load_result(run)
            length = round(images_seen(result) or 0, -4)  # runs of another length are other networks
            networks[result["fold"], -result["width"], method(result), length].append(run)
        found = {
            key: Network([load_result(run) for run in of], np.stack([evaluate_on(run, crops) for run in of]))
            for key, of in sorted(networks.items())
        }
        rows += [_row(game, key, network, found) for key, network in found.items()]
    return rows


def _row(game: str, key: tuple[int, float, str, int], network: Network, found: dict[Any, Network]) -> list[str]:
    fold, width, how, images = key
    slots = how.startswith("copies")
    operations = images * (1 / fold if slots else width**2)  # in images of the original
    original = next((of for (f, w, _, _), of in found.items() if (f, w) == (1, -1)), None)
    of_fold = ((k, of) for k, of in found.items() if k[:2] == key[:2] and k[2].startswith("copies"))
    copies = next((of for k, of in of_fold if _as_long(k[3], images)), None)
    agreement = [100 * result["order_agreement"] for result in network.results if "order_agreement" in result]
    return [
        f"{game} ({IDS[game]})" if game in IDS else game,
        str(fold),
        f"{-width:g}",
        how,
        str(len(network.results)),
        f"{images // 1000} k",
        f"{operations / 1000:.0f} k",
        _mean([100 * result["val_accuracy"] for result in network.results]),
        _mean(network.accuracies),
        "by construction" if slots else _mean(agreement),
        network.below(original) if original and original is not network else "",
        network.below(copies) if copies and copies is not network else "",
    ]


def _as_long(images: int, other: int) -> bool:
    """Whether two networks saw as many images, up to the few that a curriculum leaves out."""
    return abs(images - other) <= 0.05 * max(images, other)


def _mean(values: Sequence[float]) -> str:
    """Mean and standard deviation, as far as there are values."""
    if not values:
        return ""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of runs")
    parser.add_argument("--crops", type=int, default=33_000, help="fresh crops of each game")
    parser.add_argument("--data-seed", type=int, default=20, help="of the crops: one that no run or choice used")
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for row in tabulate(arguments.folder, arguments.crops, arguments.data_seed):
        print(f"| {' | '.join(row)} |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    set_openmp_waiting()
    main()
