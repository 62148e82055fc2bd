"""What is read where: settings `run`, `regions`, `smoothing` and `join` as a list of readouts.

A readout is one network on one region. Its name is that of the region, or where several networks read one region, as
in run={timer: {minutes: runs/a, seconds: runs/b}}, the inner name.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

import yaml

from textgen.common.errors import UserError
from textgen.footage.regions import NAME, Region
from textgen.footage.smoothing import Kind, guess_kinds
from textgen.spec.label_fields import ABSENT
from textgen.spec.values import OTHER
from train.predict.predictor import UNSURE, Predictor
from train.predict.settings import Settings, Smoothing

MAX_STRETCH = 1.5  # of a region's aspect ratio to that of the network's crops, without a warning
Runs = Path | Mapping[str, Path | Mapping[str, Path]]


@dataclass(frozen=True)
class Readout:
    """A network on a region. `kinds` are the models of `textgen.footage.smoothing` for its fields, empty for none."""

    name: str
    region: Region
    predictor: Predictor
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Joined:
    """A text that consists of the values of several readouts, or of their fields.

    `template` has their `names` in braces. `parts` has for each name the numbers of the readout, and of its entry: 0 is
    the whole answer, then come the fields.
    """

    name: str
    template: str
    parts: tuple[tuple[int, int], ...]
    names: tuple[str, ...]

    @cached_property
    def by_readout(self) -> dict[int, list[int]]:
        """The numbers of the entries that are used of each readout, by its number; of each once, as in `parts`."""
        found = defaultdict[int, list[int]](list)
        for readout, entry in self.parts:
            found[readout].append(entry)
        return dict(found)

    def join(self, values: Sequence[str]) -> str:
        """The text of the parts' `values`: "unsure" or "other" if one of them is. A field that is absent is empty."""
        for nothing in (UNSURE, OTHER):
            if nothing in values:
                return nothing
        shown = [
            "" if entry and value == ABSENT else value for (_, entry), value in zip(self.parts, values, strict=True)
        ]
        by_name = dict(zip(self.names, shown, strict=True))
        pieces = Formatter().parse(self.template)
        return "".join(text + ("" if name is None else by_name[name]) for text, name, _, _ in pieces)


def name_networks(runs: Runs, regions: Sequence[str]) -> list[tuple[str, str, Path]]:
    """Name, region and run of every readout. Raises `UserError` for regions and runs that do not belong together.

    >>> name_networks({"timer": {"minutes": Path("a"), "seconds": Path("b")}, "score": Path("c")}, ["timer", "score"])
    [('minutes', 'timer', PosixPath('a')), ('seconds', 'timer', PosixPath('b')), ('score', 'score', PosixPath('c'))]
    """
    if isinstance(runs, Path):
        return [(region, region, runs) for region in regions]
    if unknown := [name for name in runs if name not in regions]:
        raise UserError(
            f"run has {', '.join(unknown)}, but regions has {', '.join(regions)}; several networks on one region are"
            " written run={timer: {minutes: runs/a, seconds: runs/b}}"
        )
    if missing := [name for name in regions if name not in runs]:
        raise UserError(f"regions {', '.join(missing)} have no run: give run={{{missing[0]}: runs/…, …}}")
    found: list[tuple[str, str, Path]] = []
    for region in regions:
        own = runs[region]
        found += (
            [(region, region, own)] if isinstance(own, Path) else [(name, region, run) for name, run in own.items()]
        )
        if not own:
            raise UserError(f"run.{region} is empty: give a run, or leave the region out")
    seen: dict[str, str] = {}
    for name, region, _ in found:
        if not NAME.fullmatch(name):
            raise UserError(
                f"run.{region}: {name!r} is no name: it has 1 to 64 letters, digits, _ and -, the first no -"
            )
        if name in seen:
            raise UserError(f"two runs for {name!r}, in regions {seen[name]} and {region}: give one another name")
        seen[name] = region
    return found


def load_readouts(
    settings: Settings, regions: Sequence[Region], loaded: dict[Path, Predictor] | None = None
) -> list[Readout]:
    """The readouts of a command, each run loaded once; `loaded` holds those that are, and is added to.

    Raises `UserError`, and prints warnings.
    """
    named = name_networks(settings.run, [region.name for region in regions])
    by_name = {region.name: region for region in regions}
    threshold = None if settings.threshold == "auto" else settings.threshold
    loaded = {} if loaded is None else loaded
    readouts = []
    for name, region, run in named:
        if run not in loaded:
            loaded[run] = Predictor.load(
                run,
                engine=settings.engine,
                device=settings.device,
                threads=settings.threads,
                threshold=threshold,
            )
            if run.is_dir() and not (run / "result.json").exists():
                print(f"{run} has no result.json: its training is not finished", file=sys.stderr)
            elif threshold is None and not loaded[run].has_fitted_threshold:
                print(
                    f"{run} has no unsure_below in its result.json: no value is unsure; give threshold=…",
                    file=sys.stderr,
                )
        predictor = loaded[run]
        _check_shape(by_name[region], predictor)
        readouts.append(Readout(name, by_name[region], predictor, _choose_kinds(settings.smoothing, name, predictor)))
    if isinstance(settings.smoothing, Mapping):
        _check_names("smoothing", settings.smoothing, readouts)
    return readouts


def _check_shape(region: Region, predictor: Predictor) -> None:
    """Print a warning for a region of another shape than the network's crops, which has to be stretched."""
    (height, width), ratio = predictor.size, region.width / region.height
    stretch = max(ratio * height / width, width / height / ratio)
    if stretch > MAX_STRETCH:
        print(
            f"warning: region {region.name} is {region.width}×{region.height}, and {predictor.run} reads crops of"
            f" {width}×{height} pixels of {predictor.name}: is it the right run, and the right region?",
            file=sys.stderr,
        )


def _choose_kinds(smoothing: Smoothing | Mapping[str, Smoothing], name: str, predictor: Predictor) -> tuple[Kind, ...]:
    chosen = smoothing.get(name, "auto") if isinstance(smoothing, Mapping) else smoothing
    if chosen == "auto":
        unknown: list[Kind] = ["none" for _ in predictor.fields.fields]
        return guess_kinds(predictor.spec) if predictor.spec else tuple(unknown)
    kinds: list[Kind] = [chosen for _ in predictor.fields.fields]
    return () if smoothing == "none" else tuple(kinds)


def _check_names(setting: str, names: Mapping[str, object], readouts: Sequence[Readout]) -> None:
    known = [readout.name for readout in readouts]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{setting} has {', '.join(unknown)}, which is read nowhere: there are {', '.join(known)}")


def parse_join(join: str | Mapping[str, str] | None, readouts: Sequence[Readout]) -> list[Joined]:
    """The joined texts; that of a single template is called "joined". Raises `UserError`."""
    joined = []
    numbers: dict[str, tuple[int, int]] = {}
    for number, readout in enumerate(readouts):
        fields = readout.predictor.fields
        names = [] if fields.is_single else [f"{readout.name}.{name}" for name in fields.names]
        numbers |= {name: (number, entry) for entry, name in enumerate([readout.name, *names])}
    for name, template in ({"joined": join} if isinstance(join, str) else dict(join or {})).items():
        setting = f"join={template!r}" if isinstance(join, str) else f"join.{name}={template!r}"
        if name in numbers or not NAME.fullmatch(name):
            raise UserError(f"{setting}: {name!r} is the name of a region, or no name: give another")
        try:
            parts = [
                (part, spec, conversion)
                for _, part, spec, conversion in Formatter().parse(template)
                if part is not None
            ]
        except ValueError as error:
            raise UserError(f"{setting}: {error}; write the names of regions in braces") from None
        for part, spec, conversion in parts:
            if part not in numbers or spec or conversion:
                known = ", ".join(f"{{{known}}}" for known in numbers)
                raise UserError(f"{setting}: there is no {{{part}{':' if spec else ''}{spec}}}, there are {known}")
        if not parts:
            raise UserError(f'{setting} has no name in braces: write join="{{minutes}}:{{seconds}}"')
        used = tuple(dict.fromkeys(part for part, _, _ in parts))
        joined.append(Joined(name, template, tuple(numbers[part] for part in used), used))
    return joined


class _UniqueLoader(yaml.SafeLoader):
    """YAML that refuses a key that stands twice in a mapping, of which others take the last one without a word."""


def _construct_mapping(loader: _UniqueLoader, node: yaml.MappingNode) -> dict[object, object]:
    keys = [key.value for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(key)
    return loader.construct_mapping(node, deep=True)


_UniqueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def check_repeated_names(given: Sequence[str]) -> None:
    """Raise `UserError` if a mapping of the settings `given`, key=value each, has a name twice.

    Hydra takes the last one without a word.
    """
    for setting in given:
        key, _, value = setting.partition("=")
        if key not in ("run", "regions", "join", "smoothing") or not value.lstrip().startswith("{"):
            continue
        try:
            yaml.load(re.sub(r":(?=\S)", ": ", value), _UniqueLoader)
        except yaml.YAMLError:
            continue  # Hydra's form of mappings is not quite YAML's
        except UserError as error:
            what = {"run": "two runs", "regions": "two places"}.get(key, "two values")
            raise UserError(f"{key}: {what} for {error}: give each its own name") from None
