"""Settings that had another name before: the old name is still accepted, with one line that gives the new one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

RENAMED = {  # on the command line and, below `recipe`, in files; to be removed with release 0.3
    "recipe.average": "recipe.ema_decay",
    "recipe.between_slots": "recipe.cross_slot_lr",
    "recipe.consistency": "recipe.order_consistency",
    "recipe.special": "recipe.overrides",
}


def rename_recipe_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe, or a part of one, with today's names for its keys.

    A file of the user's may build on one of ours, so that both names are there: the old one is the user's and stands.
    """
    old = {key: f"recipe.{key}" for key in recipe if f"recipe.{key}" in RENAMED}
    renamed = {key: value for key, value in recipe.items() if key not in old}
    for key, path in old.items():
        print_renamed(path, RENAMED[path])
        renamed[RENAMED[path].removeprefix("recipe.")] = recipe[key]
    return renamed


@cache
def print_renamed(old: str, new: str) -> None:
    """Print, once in a process, that a setting has another name now."""
    print(f"{old} is called {new} now; the old name will be removed", file=sys.stderr)
