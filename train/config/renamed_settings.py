"""Settings that had another name before: the old name is still accepted, with one line that gives the new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from textgen.common.cli import print_renamed

RENAMED = {  # in commands, in `train.compose` and in recipe files; to be removed with release 0.3
    "recipe.average": "recipe.ema_decay",
    "recipe.consistency": "recipe.order_consistency",
    "recipe.special": "recipe.overrides",
}


def rename_recipe_keys(recipe: Mapping[str, Any], given: Collection[str] = ()) -> dict[str, Any]:
    """A recipe, or a part of one, with today's names for its keys.

    A user's file may build on one of ours, so that both names are there: then the value under the old name is used,
    unless the command sets the new one, that is, unless `given` names it.
    """
    old = {key: RENAMED[f"recipe.{key}"].removeprefix("recipe.") for key in recipe if f"recipe.{key}" in RENAMED}
    renamed = {key: value for key, value in recipe.items() if key not in old}
    for key, new in old.items():
        print_renamed(f"recipe.{key}", f"recipe.{new}")
        if new not in given:
            renamed[new] = recipe[key]
    return renamed
