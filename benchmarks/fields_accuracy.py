"""Accuracy of networks for all fields of a text beside networks for one field, from the results of finished runs.

    python benchmarks/fields_accuracy.py runs/

A table in Markdown with rows for each game, fold, network, recipe and number of images: the accuracy of the text on
validation and test crops, and of each field, alone and together, on test crops; in %, with the standard deviation over
seeds. The last column is what a field loses, in points, over the seeds that both have.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

HEAD = (
    *("game", "fold", "network", "recipe", "images", "seeds", "text, validation", "text, test"),
    *("field", "alone (seeds)", "together", "loses"),
)
Group = tuple[str, int, str, str, int]  # game, fold, network, recipe, images


def read_results(folder: Path) -> dict[Group, dict[str, dict[int, dict[str, Any]]]]:
    """The results of all runs, by group, label and seed."""
    found: dict[Group, dict[str, dict[int, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        config = yaml.safe_load(path.with_name("config.yaml").read_text(encoding="utf-8"))
        group = result["game"], result["fold"], result["arch"], result["recipe"], round(result["images_seen"], -4)
        found[group][str(config["game"]["label"])][result["seed"]] = result
    return found


def format_percent(values: list[float]) -> str:
    """The mean of fractions in %, with their standard deviation."""
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"


def table_rows(group: Group, labels: dict[str, dict[int, dict[str, Any]]]) -> list[list[str]]:
    """A row for each field; none without a network for all fields."""
    together = labels.get("text", {})
    game, fold, network, recipe, images = group
    rows = []
    for name in next(iter(together.values()))["fields"] if together else ():
        alone = labels.get(name, {})
        both = sorted(together.keys() & alone.keys())
        joint = {seed: result["fields"][name]["accuracy"] for seed, result in together.items()}
        lost = mean(100 * (alone[seed]["accuracy"] - joint[seed]) for seed in both) if both else None
        first = (game, f"{fold}", f"`{network}`", recipe, f"{images // 1000} k", f"{len(together)}")
        texts = [format_percent([of[key] for of in together.values()]) for key in ("val_accuracy", "accuracy")]
        rows.append(
            [
                *(("",) * 8 if rows else (*first, *texts)),
                name,
                f"{format_percent([of['accuracy'] for of in alone.values()])} ({len(alone)})" if alone else "–",
                format_percent(list(joint.values())),
                f"{lost:.2f}" if lost is not None else "–",
            ]
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    lines = [HEAD, ("---",) * len(HEAD)]
    for group, labels in sorted(read_results(parser.parse_args().runs).items()):
        lines += [tuple(row) for row in table_rows(group, labels)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
