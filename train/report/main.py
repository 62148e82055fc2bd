"""`python -m train.report runs/table4`: the runs of a folder as a table, with the paper's numbers beside them.

Runs are compared only where they are of one recipe and, game by game, of one data set and network; others get tables of
their own.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from omegaconf import OmegaConf

import conf
from textgen.common import cli
from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from textgen.common.intervals import wilson_interval
from train.common.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, png
from train.report.paper import ACCURACY, IDS
from train.report.result import format_value

OTHER_REPORT_FOLDER = "another folder with --out"
HEAD = ("game", "fold", "width", "seeds", "accuracy", "interval or sd", "drop", "paper", "paper's drop", "agreement")
VARIANTS = ("model.arch", "scaling", "align")  # settings that make another network
NEEDED = ("game", "fold", "width", "seed", "accuracy", "test_images", "recipe", "recipe_hash", "dataset_hash")


@dataclass(frozen=True)
class Row:
    """The runs of one network, which differ in their seed alone. Accuracies are fractions."""

    game: str
    fold: int
    width: float
    results: tuple[Mapping[str, Any], ...]

    @property
    def accuracy(self) -> float:
        return float(statistics.mean(result["accuracy"] for result in self.results))

    @property
    def spread(self) -> str:
        """Of several seeds the standard deviation; of one, Wilson's interval for the number of test images."""
        if len(self.results) > 1:
            return f"± {100 * statistics.stdev(result['accuracy'] for result in self.results):.2f}"
        low, high = wilson_interval(self.accuracy, self.results[0]["test_images"])
        return f"{100 * low:.2f} to {100 * high:.2f}"

    @property
    def agreement(self) -> float | None:
        return statistics.mean(result["order_agreement"] for result in self.results) if self.fold > 1 else None


@dataclass(frozen=True)
class Table:
    """Runs that may stand side by side."""

    title: str
    rows: tuple[Row, ...]

    def original(self, game: str) -> Row | None:
        return next((row for row in self.rows if (row.game, row.fold, row.width) == (game, 1, 1)), None)

    def cells(self, row: Row) -> list[str]:
        """One row in the order of HEAD, per cent and points."""
        original, paper = self.original(row.game), ACCURACY.get(row.game)
        same = row.width == 1 and not _variant(row.results[0]) and row.results[0].get("data") != "folder"
        of_paper = paper[row.fold - 1] if paper and same and row.fold <= len(paper) else None
        game = f"{row.game} ({IDS[row.game]})" if row.game in IDS else row.game
        return [
            game,
            str(row.fold),
            f"{row.width:g}",
            str(len(row.results)),
            f"{100 * row.accuracy:.2f}",
            row.spread,
            f"{100 * (original.accuracy - row.accuracy):.2f}" if original and original is not row else "",
            f"{of_paper:.2f}" if of_paper is not None else "",
            f"{paper[0] - of_paper:.2f}" if paper and of_paper is not None and row.fold > 1 else "",
            f"{100 * row.agreement:.2f}" if row.agreement is not None else "",
        ]


def collect_tables(folder: Path) -> tuple[list[Table], list[str]]:
    """The tables of all runs below `folder`, and the runs that are not done. Raises `UserError` if there is none."""
    results, unfinished = [], []
    for path in sorted(folder.rglob("config.yaml")):
        try:
            result = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            unfinished.append(str(path.parent))
            continue
        except ValueError as error:
            raise UserError(f"{path.parent / 'result.json'} cannot be read ({error}): run it again") from None
        if not isinstance(result, dict) or (missing := [key for key in NEEDED if key not in result]):
            lacks = ", ".join(missing) if isinstance(result, dict) else "everything"
            raise UserError(f"{path.parent / 'result.json'} is of another version, it lacks {lacks}: run it again")
        results.append(result)
    if not results:
        raise UserError(f"{folder} holds no run that is done: give the folder of runs, as runs/table4")
    return _tables(results), unfinished


def _tables(results: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A recipe is one table; where a game was trained on several data sets or as several networks, each of the further
    ones is one more, and a run that was there before with the same seed is too."""
    sets: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)  # of a recipe and a game, as they come
    seen: Counter[tuple[Any, ...]] = Counter()
    tables: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        of = result["recipe_hash"], result["game"]
        about = tuple(result.get(key) for key in ("dataset_hash", "train_images", "original_arch"))
        same = *of, *about, *(result[key] for key in ("fold", "width", "seed"))
        seen[same] += 1
        kind = *about, seen[same]
        if kind not in sets[of]:
            sets[of].append(kind)
        tables[result["recipe_hash"], sets[of].index(kind)].append(result)
    other = _other([runs[0] for runs in tables.values()])
    return [
        Table(_title(runs, number, other, several=len(tables) > 1), _rows(runs)) for (_, number), runs in tables.items()
    ]


def _other(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By the name of a recipe, the settings in which runs with it differ, from each other or from the recipe as it is
    now, but for those that a title has anyway."""
    different: dict[str, list[str]] = {}
    for name in {run["recipe"] for run in runs}:
        settings = [run["settings"] for run in runs if run["recipe"] == name and "settings" in run]  # older have none
        usual = _usual(name)
        keys = dict.fromkeys(key for of_run in settings for key in of_run if key not in ("data", *VARIANTS))
        values = {key: [of[key] for of in [*settings, usual] if key in of] for key in keys}
        different[name] = [key for key, found in values.items() if any(value != found[0] for value in found)]
    return different


def _usual(recipe: str) -> dict[str, Any]:
    """What a run has whose command names the recipe alone, by the names of `settings`; {} for a user's own recipe, of
    which only what differs between runs can be told."""
    folder = Path(conf.__file__).parent

    def of_file(path: Path) -> dict[str, Any]:
        own: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[assignment]
        bases = [base for base in own.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
        return {key: value for base in bases for key, value in of_file(path.with_name(f"{base}.yaml")).items()} | own

    path = folder / "recipe" / f"{recipe}.yaml"
    if not path.exists():
        return {}
    settings: Any = OmegaConf.load(folder / "train.yaml")
    return {f"recipe.{key}": value for key, value in of_file(path).items()} | {
        key: settings[key] for key in ("epochs", "batch", "autocast", "groupings", "teacher", "start")
    }


def _variant(run: Mapping[str, Any]) -> str:
    """What makes its network another than that of its game, fold and width. Older runs have none."""
    return "".join(f", {key}={run[key]}" for key in VARIANTS if run.get(key))


def _title(runs: Sequence[Mapping[str, Any]], number: int, other: Mapping[str, Sequence[str]], *, several: bool) -> str:
    first = runs[0]
    title = f"recipe={first['recipe']}" + f" ({first['recipe_hash']})" * several
    title += f", data={first['data']}{_variant(first)}"
    settings = first.get("settings", {})
    title += "".join(f", {key}={format_value(settings[key])}" for key in other[first["recipe"]] if key in settings)
    return title + (f", further runs ({', '.join(sorted({_data(run) for run in runs}))})" * bool(number))


def _data(run: Mapping[str, Any]) -> str:
    """What tells its data and network from others of the same game."""
    images = f", {run['train_images']} images an epoch" if "train_images" in run else ""
    return f"{run['dataset_hash'][:8]}{images}, {run.get('original_arch', run.get('arch'))}"


def _rows(runs: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    networks: dict[tuple[str, int, float], dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for run in runs:
        networks[run["game"], run["fold"], run["width"]][run["seed"]] = run
    order = {game: place for place, game in enumerate(IDS)}
    keys = sorted(networks, key=lambda key: (order.get(key[0], len(order)), key[0], -key[2], key[1]))
    return tuple(Row(*key, tuple(networks[key].values())) for key in keys)


def markdown(tables: Sequence[Table], unfinished: Sequence[str]) -> str:
    """All tables, what the columns are, and what is missing."""
    parts = []
    if len(tables) > 1:
        parts.append(
            "These runs are of several recipes, data sets or networks; what stands in one table may be compared.\n"
        )
    for table in tables:
        lines = [f"## {table.title}\n", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
        lines += [f"| {' | '.join(table.cells(row))} |" for row in table.rows]
        lines += [f"\n{mixed}" for mixed in _mixed(table)]
        parts.append("\n".join(lines) + "\n")
    parts.append(
        "Accuracies in per cent, drops in points from fold=1 of the same game. One seed has Wilson's 95 % interval for"
        " the number of test images, several have their standard deviation. The paper's numbers are of its own crops:"
        " drops compare, accuracies do not. A width below 1 is a control, a narrow network on single images.\n"
    )
    if unfinished:
        parts.append(f"Not done: {', '.join(unfinished)}.\n")
    return "\n".join(parts)


def _mixed(table: Table) -> list[str]:
    """What else its runs differ in, which may change a result: the code, the libraries and the machine."""
    results = [result for row in table.rows for result in row.results]
    told: dict[str, list[str | None]] = {
        "code, by commit": [result.get("commit") for result in results],
        "versions": [", ".join(f"{k} {v}" for k, v in result.get("versions", {}).items()) for result in results],
        "devices": [result.get("device") for result in results],
    }
    different = {what: sorted({value for value in values if value}) for what, values in told.items()}
    return [f"Runs of different {what}: {'; '.join(known)}." for what, known in different.items() if len(known) > 1]


def as_csv(tables: Sequence[Table]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", *HEAD])
    for table in tables:
        writer.writerows([table.title, *table.cells(row)] for row in table.rows)
    return text.getvalue()


def picture(tables: Sequence[Table]) -> bytes:
    """Accuracy by fold, a panel a game: a line a table, its controls as crosses, and the paper's line dashed."""
    games = list(dict.fromkeys(row.game for table in tables for row in table.rows))
    columns = min(len(games), 3)
    rows = -(-len(games) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.8 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(games) :]:
        axis.axis("off")
    for axis, game in zip(axes.flat, games, strict=False):
        for table, own in zip(tables, cycle((BLUE, ORANGE, GREEN, PURPLE, SKY))):
            folded = [row for row in table.rows if row.game == game and row.width == 1]
            if folded:
                axis.plot(
                    [r.fold for r in folded], [100 * r.accuracy for r in folded], "o-", color=own, label=table.title
                )
            control = [row for row in table.rows if row.game == game and row.width < 1 and row.fold == 1]
            if control:
                at = [1 / row.width**2 for row in control]  # the fold with this capacity an image
                axis.plot(at, [100 * row.accuracy for row in control], "x", color=own, label="control")
        if game in ACCURACY:
            axis.plot(range(1, 5), ACCURACY[game], "--", color="tab:gray", label="the paper, own crops")
        axis.set(xlabel="fold", ylabel="accuracy, %")
        axis.set_title(f"{game} ({IDS[game]})" if game in IDS else game, parse_math=False)  # a folder's name may hold $
        axis.set_xticks([1, 2, 3, 4])
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, high - 1), high)  # a point at least, so that chance does not look like a cliff
    handles = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, fontsize=7, loc="outside lower center")
    return png(figure)


def _main() -> None:
    parser = argparse.ArgumentParser("train.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of runs, looked through to its bottom")
    parser.add_argument("--out", type=Path, help="folder for table.md, table.csv and table.png; default: the same")
    given = parser.parse_args()
    if not given.folder.is_dir():
        raise UserError(f"{given.folder} is no folder: give a folder of runs, as runs/table4")
    tables, unfinished = collect_tables(given.folder)
    out = given.out or given.folder
    text = markdown(tables, unfinished)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "table.csv", as_csv(tables).encode(), OTHER_REPORT_FOLDER)
    write_atomic(out / "table.png", picture(tables), OTHER_REPORT_FOLDER)
    write_atomic(out / "table.md", text.encode(), OTHER_REPORT_FOLDER)
    print(text)
    print(f"see {out / 'table.md'}, table.csv and table.png", file=sys.stderr)


def main() -> None:
    """The console script."""
    cli.run(_main)
