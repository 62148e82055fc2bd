"""The runs of a folder as tables. A table has only runs that may be compared.

Runs are comparable if they have the same recipe and settings and, game by game, the same data set and architecture.
Others get tables of their own.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from textgen.common.bounded_text import load_json
from textgen.common.confidence import wilson_interval
from textgen.common.data_folders import CONF
from textgen.common.digests import check_digest
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.yaml_files import load_yaml
from train.config.advice import TRAIN_AGAIN
from train.config.recipe import Recipe, compared_recipe, fit_recipe, kind_of
from train.config.renamed_settings import RENAMED
from train.report.paper_numbers import ACCURACY, IDS
from train.report.result import COPIES, format_value, hash_settings, method
from train.trainer.curriculum import class_count

COLUMNS = (
    *("game", "fold", "width", "method", "seeds", "images seen", "accuracy", "interval or sd", "drop", "errors ×"),
    *("paper, own crops", "paper's drop, on stacks", "paper's errors ×, on stacks", "order agreement"),
)
FULL_SHARE = 0.5  # of the images that the recipe asks for: a run with fewer is too short for a drop
VARIANTS = ("model.arch", "scaling", "align")  # settings that change the network
NEEDED = ("game", "fold", "width", "seed", "accuracy", "test_images", "recipe", "recipe_hash", "dataset_hash")
Run = Mapping[str, Any]  # a result.json


@dataclass(frozen=True)
class Row:
    """The runs of one network, which differ only in their seed. Accuracies are fractions."""

    game: str
    fold: int
    width: float
    runs: tuple[Run, ...]

    @property
    def accuracy(self) -> float:
        return float(statistics.mean(run["accuracy"] for run in self.runs))

    @property
    def spread(self) -> str:
        """Of several seeds the standard deviation; of one, Wilson's interval for the number of test images."""
        if len(self.runs) > 1:
            return f"± {100 * statistics.stdev(run['accuracy'] for run in self.runs):.2f}"
        low, high = wilson_interval(self.accuracy, self.runs[0]["test_images"])
        return f"{100 * low:.2f} to {100 * high:.2f}"

    @property
    def images_seen(self) -> int | None:
        """The images of the whole training, of the shortest of the runs; None if an older run does not say."""
        seen = [images_seen(run) for run in self.runs]
        return None if None in seen else min(number for number in seen if number is not None)

    @cached_property
    def shortest(self) -> tuple[int, int] | None:
        """The images that a run saw and those that its recipe asks for, of the run that saw the smallest share; None
        if that is not known of any."""
        known = [(seen, asked) for seen, asked in map(_seen_and_asked, self.runs) if seen is not None and asked]
        return min(known, key=lambda of_run: of_run[0] / of_run[1], default=None)

    @property
    def is_short(self) -> bool:
        """Whether a run saw less than `FULL_SHARE` of the images that its recipe asks for."""
        return self.shortest is not None and self.shortest[0] < FULL_SHARE * self.shortest[1]

    @property
    def is_copies(self) -> bool:
        """Whether all of the networks are copies of a narrow one."""
        return all(method(run) == COPIES for run in self.runs)

    @property
    def method(self) -> str:
        """How the networks were trained."""
        methods = ", ".join(sorted({method(run) for run in self.runs}))
        if self.fold > 1 or self.width == 1:
            return methods
        return f"{methods}, narrow network (control of fold={1 / self.width**2:.3g})"

    @property
    def agreement(self) -> str:
        """The order agreement in per cent; copies of a network agree whatever it has learned."""
        if self.fold == 1:
            return ""
        if self.is_copies:
            return "by construction"
        return f"{100 * statistics.mean(run['order_agreement'] for run in self.runs):.2f}"


@dataclass(frozen=True)
class Table:
    """Runs that may be compared."""

    title: str
    rows: tuple[Row, ...]

    def original(self, game: str) -> Row | None:
        """The row of the original network of a game."""
        return next((row for row in self.rows if (row.game, row.fold, row.width) == (game, 1, 1)), None)

    def cells(self, row: Row) -> list[str]:
        """A row's cells in the order of `COLUMNS`, in per cent and points."""
        original, paper = self.original(row.game), ACCURACY.get(row.game)
        as_in_paper = row.width == 1 and not _variant(row.runs[0]) and row.runs[0].get("data") != "folder"
        comparable = original and original is not row and not (row.is_short or original.is_short)
        of_paper = paper[row.fold - 1] if paper and as_in_paper and row.fold <= len(paper) else None
        return [
            f"{row.game} ({IDS[row.game]})" if row.game in IDS else row.game,
            str(row.fold),
            f"{row.width:g}",
            row.method,
            str(len(row.runs)),
            "" if row.images_seen is None else str(row.images_seen),
            f"{100 * row.accuracy:.2f}",
            row.spread,
            f"{100 * (original.accuracy - row.accuracy):.2f}" if original and comparable else "",
            _growth(1 - original.accuracy, 1 - row.accuracy) if original and comparable else "",
            f"{of_paper:.2f}" if of_paper is not None else "",
            f"{paper[0] - of_paper:.2f}" if paper and of_paper is not None and row.fold > 1 else "",
            _growth(100 - paper[0], 100 - of_paper) if paper and of_paper is not None and row.fold > 1 else "",
            row.agreement,
        ]


def _growth(of_original: float, error: float) -> str:
    """How many times as many errors as the original makes; "" where that makes none."""
    return f"{error / of_original:.2f}" if of_original else ""


def collect_tables(folder: Path) -> tuple[list[Table], list[str]]:
    """The tables of all runs below `folder`, and the runs that are not finished. Raises `UserError` if none is."""
    runs, unfinished = [], []
    for path in sorted(folder.rglob("config.yaml")):
        check_digest(path.parent / "result.json", TRAIN_AGAIN)
        try:
            run = load_json(path.parent / "result.json")
        except FileNotFoundError:
            unfinished.append(str(path.parent))
            continue
        except ValueError as error:
            raise UserError(f"{path.parent / 'result.json'} cannot be read ({error}): run it again") from None
        if not isinstance(run, dict) or (missing := [key for key in NEEDED if key not in run]):
            lacks = ", ".join(missing) if isinstance(run, dict) else "everything"
            raise UserError(f"{path.parent / 'result.json'} is of another version, it lacks {lacks}: run it again")
        runs.append(_with_label(_with_new_names(run)))
    if not runs:
        raise UserError(f"{folder} holds no finished run: give the folder of runs, as runs/table4")
    return _group(runs), unfinished


def _with_new_names(run: Run) -> Run:
    """A run of an older version with today's names of its settings, and the hash that a run of today would have."""
    settings = run.get("settings", {})
    if not settings.keys() & RENAMED.keys():
        return run
    renamed = {RENAMED.get(key, key): value for key, value in settings.items()}
    return {**run, "settings": renamed, "recipe_hash": hash_settings(renamed)}


def _with_label(run: Run) -> Run:
    """A run whose `game` also names the label, if that is not the one of the game's file: it is another task.

    `base_game` keeps the name without it.
    """
    game, label = run["game"], run.get("label", ",".join(run.get("fields") or ()) or None)
    own = _own_labels().get(game)
    named = label is not None and (label != own if own else "fields" in run)
    return {**run, "game": f"{game} {label}" if named else game, "base_game": game}


@cache
def _own_labels() -> dict[str, str]:
    """The labels of the games of conf/game."""
    return {path.stem: str(load_yaml(path)["label"]) for path in (CONF / "game").glob("*.yaml")}


def missing_drops(table: Table) -> list[str]:
    """Why rows of a table have no drop: a training is too short, or the game has no original."""
    found = []
    short = [
        f"{row.game} fold={row.fold}" + f" width={row.width:g}" * (row.width < 1) + " ({} of {})".format(*row.shortest)
        for row in table.rows
        if row.shortest and row.is_short
    ]
    if short:
        found.append(
            f"No drop, as less than half of the images were seen that the recipe asks for: {', '.join(short)}."
        )
    games = dict.fromkeys(row.game for row in table.rows)
    if missing := [game for game in games if not table.original(game)]:
        found.append(f"No drop, as this table has no original (fold=1, width=1): {', '.join(missing)}.")
    return found


def lengths(table: Table) -> list[str]:
    """Which games have networks that saw different numbers of images."""
    by_game: dict[str, set[int]] = defaultdict(set)
    for row in table.rows:
        if row.images_seen is not None:
            by_game[row.game].add(row.images_seen)
    different = {game: sorted(seen) for game, seen in by_game.items() if len(seen) > 1}
    if different:
        numbers = "; ".join(f"{game} {', '.join(map(str, seen))}" for game, seen in different.items())
        return [f"Networks of one game saw different numbers of images: {numbers}."]
    return []


def images_seen(run: Run) -> int | None:
    """The images of the whole training. Of an older run that does not say, all epochs with all classes."""
    seen: int | None = run.get("images_seen")
    if seen is None and "epochs" in run and "train_images" in run:
        seen = run["epochs"] * run["train_images"]
    return seen


def _seen_and_asked(run: Run) -> tuple[int | None, int | None]:
    """The images that a run saw, and those that it sees if its command gives no length.

    The second is None for a user's own recipe and for runs of versions with other settings.
    """
    settings, current = run.get("settings", {}), _current_config(run["recipe"])
    if not current or "train_images" not in run:
        return images_seen(run), None
    own = {key.removeprefix("recipe."): value for key, value in settings.items() if key.startswith("recipe.")}
    length = {key: current["recipe"][key] for key in ("epochs", "images", "data")}
    with suppress(UserError):
        recipe = fit_recipe(
            {**own, **length},
            game=run["base_game"],
            fold=run["fold"],
            kind=kind_of(run.get("data")),
            width=run["width"],
            module="network" in settings,
            teacher=bool(settings.get("teacher")),
            train_images=run["train_images"],
        )
        return images_seen(run), _scheduled_images(run, recipe)
    return images_seen(run), None


def _scheduled_images(run: Run, recipe: Recipe) -> int:
    """The images of all epochs of `recipe`: with a curriculum, of the classes that take part, as if of equal size.

    Of an older run that does not say what it saw, all classes in all epochs, as `images_seen` counts them.
    """
    epochs, classes = recipe.epochs or 0, run.get("classes")
    if fields := run.get("fields"):  # those of the curriculum's field take part one after another
        classes = fields[(recipe.curriculum and recipe.curriculum.field) or next(iter(fields))]["classes"]
    if "images_seen" not in run or not classes:
        return epochs * int(run["train_images"])
    counts = (
        class_count(recipe.curriculum, epoch=epoch, epochs=epochs, classes=classes, fold=run["fold"])
        for epoch in range(epochs)
    )
    return round(sum(counts) * int(run["train_images"]) / int(classes))


def differences(table: Table) -> list[str]:
    """What else the runs of a table differ in that may change a result: the code, the libraries and the machine."""
    runs = [run for row in table.rows for run in row.runs]
    values: dict[str, list[str | None]] = {
        "code, by commit": [run.get("commit") for run in runs],
        "versions": [", ".join(f"{k} {v}" for k, v in run.get("versions", {}).items()) for run in runs],
        "devices": [run.get("device") for run in runs],
    }
    different = {what: sorted({value for value in found if value}) for what, found in values.items()}
    return [f"Runs of different {what}: {'; '.join(known)}." for what, known in different.items() if len(known) > 1]


def _group(runs: Sequence[Run]) -> list[Table]:
    """One table a recipe. Where a game was trained on several data sets or with several architectures, each further one
    has a table of its own, and so has a second run with the same seed."""
    kinds: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)  # by recipe and game, in order
    seen: Counter[tuple[Any, ...]] = Counter()
    grouped: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        recipe_and_game = run["recipe_hash"], run["game"]
        epoch = None if run["data"] == "live" else run.get("train_images")  # of fresh crops, only the epoch's length
        real_crops = (run.get("real") or {}).get("crops")
        data_and_network = run["dataset_hash"], epoch, run.get("original_arch"), real_crops
        same = *recipe_and_game, *data_and_network, *(run[key] for key in ("fold", "width", "seed"))
        seen[same] += 1
        kind = *data_and_network, seen[same]
        known = kinds[recipe_and_game]
        if kind not in known:
            known.append(kind)
        grouped[run["recipe_hash"], known.index(kind)].append(run)
    different = _different_settings([of_table[0] for of_table in grouped.values()])
    return [
        Table(_title(of_table, number, different, several=len(grouped) > 1), _rows(of_table))
        for (_, number), of_table in grouped.items()
    ]


def _rows(runs: Sequence[Run]) -> tuple[Row, ...]:
    """The paper's games first, in its order; the original before FoldedCNNs, and controls last."""
    networks: dict[tuple[str, int, float], dict[int, Run]] = defaultdict(dict)
    for run in runs:
        networks[run["game"], run["fold"], run["width"]][run["seed"]] = run
    order = {game: place for place, game in enumerate(IDS)}
    keys = sorted(networks, key=lambda key: (order.get(key[0], len(order)), key[0], -key[2], key[1]))
    return tuple(Row(*key, tuple(networks[key].values())) for key in keys)


def _title(runs: Sequence[Run], number: int, different: Mapping[str, Sequence[str]], *, several: bool) -> str:
    first = runs[0]
    title = f"recipe={first['recipe']}" + f" ({first['recipe_hash']})" * several
    title += f", data={first['data']}{_variant(first)}"
    settings = first.get("settings", {})
    title += f", real_share={format_value(settings['real_share'])}" if "real_share" in settings else ""
    title += "".join(f", {key}={format_value(settings[key])}" for key in different[first["recipe"]] if key in settings)
    return title + (f", further runs ({', '.join(sorted({_data(run) for run in runs}))})" * bool(number))


def _different_settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """By recipe, the settings in which its runs differ from each other or from the recipe as it is now, except those
    that a title has anyway."""
    different: dict[str, list[str]] = {}
    for name in {run["recipe"] for run in runs}:
        settings = [run["settings"] for run in runs if run["recipe"] == name and "settings" in run]  # older have none
        current = _current_settings(name)
        keys = dict.fromkeys(
            key for of_run in settings for key in of_run if key not in ("data", "real_share", *VARIANTS)
        )
        values = {key: [of[key] for of in [*settings, current] if key in of] for key in keys}
        different[name] = [key for key, found in values.items() if any(value != found[0] for value in found)]
    return different


def _current_settings(recipe: str) -> dict[str, Any]:
    """The settings of a run whose command names nothing but the recipe, by the names of a result's `settings`.

    {} for a user's own recipe, of which only differences between runs are known.
    """
    if not (config := _current_config(recipe)):
        return {}
    return {f"recipe.{key}": value for key, value in compared_recipe(config["recipe"]).items()} | {
        key: config[key] for key in ("epochs", "batch", "autocast", "groupings", "teacher", "start")
    }


@cache
def _current_config(recipe: str) -> dict[str, Any]:
    """The configuration of a run whose command names nothing but the recipe; {} for a user's own recipe."""
    return compose_config("train", f"recipe={recipe}") if (CONF / "recipe" / f"{recipe}.yaml").exists() else {}


def _variant(run: Run) -> str:
    """The settings that make a run's network another than that of its game, fold and width. Older runs have none."""
    return "".join(f", {key}={run[key]}" for key in VARIANTS if run.get(key))


def _data(run: Run) -> str:
    """What distinguishes the data and architecture of a run from others of the same game."""
    images = f", {run['train_images']} images an epoch" if "train_images" in run and run["data"] != "live" else ""
    real_crops = f", real crops {run['real']['crops']}" if (run.get("real") or {}).get("crops") else ""
    return f"{run['dataset_hash'][:8]}{images}{real_crops}, {run.get('original_arch', run.get('arch'))}"
