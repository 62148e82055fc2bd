"""The result of a run: the measured part of result.json, and the lines that are printed at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.spec.label_fields import LabelFields
from train.config.recipe import Recipe
from train.metrics.evaluate import Evaluation
from train.trainer.loop import Trained

SYNTHETIC = ("files", "live", "shards")  # of the kinds of data: crops that were drawn
COPIES = "copies of a narrow network"  # the method of a network that was not trained on stacks


def measured_result(
    recipe: Recipe, trained: Trained, evaluations: Mapping[str, Evaluation], fields: LabelFields
) -> dict[str, Any]:
    """The figures of training and evaluation; fewer for the additional test sets, all of `evaluations` but "test".

    Only `train_seconds` and `train_images_per_second` change when the same run is repeated.
    """
    return {
        "classes": len(fields.classes),
        "recipe": recipe.name,
        "slots": recipe.slots,
        "curriculum": _describe_curriculum(recipe, trained),
        "batch": recipe.batch,
        "epochs": recipe.epochs,
        "images_seen": trained.images,
        "epochs_to_best": trained.best_epoch,
        "every_class_in": trained.every_class_in,
        "train_seconds": round(trained.seconds, 1),
        "train_images_per_second": round(trained.images_per_second),
        **evaluation_result(evaluations, fields),
        "parameters": sum(p.numel() for p in trained.net.parameters()),
    }


def _describe_curriculum(recipe: Recipe, trained: Trained) -> dict[str, Any] | None:
    """The order of the classes, and how many take part from which epoch on (from 1)."""
    if recipe.curriculum is None:
        return None
    changes: dict[str, int] = {}
    for line in trained.history:
        if line["classes"] not in changes.values():
            changes[str(line["epoch"])] = line["classes"]
    return {"order": recipe.curriculum.order, "classes_from_epoch": changes}


def evaluation_result(evaluations: Mapping[str, Evaluation], fields: LabelFields) -> dict[str, Any]:
    """The figures of an evaluation; fewer for the additional test sets, all of `evaluations` but "test"."""
    evaluation = evaluations["test"]
    orders = {
        "order_agreement": evaluation.order_agreement,
        "order_all_agree": evaluation.order_all_agree,
        "orders": evaluation.orders,
    }
    return {
        "test_images": len(evaluation.predictions),
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        "accuracy_groupings": evaluation.accuracy_groupings,
        **_by_class(evaluation, fields),
        **(orders if evaluation.orders else {}),
        "tests": {name: _additional(other) for name, other in evaluations.items() if name != "test"},
    }


def _by_class(evaluation: Evaluation, fields: LabelFields) -> dict[str, Any]:
    """The accuracy of each class; of several fields, `accuracy` is that of all together, and each has its own."""
    by_class = {"per_class_accuracy": dict(zip(fields.classes, evaluation.per_class_accuracy, strict=True))}
    if not evaluation.fields:
        return by_class
    by_field = {
        of.name: {
            "classes": len(of.classes),
            "accuracy": evaluation.fields[of.name].accuracy,
            "accuracy_ci95": list(evaluation.fields[of.name].accuracy_ci95),
        }
        for of in fields.fields
    }
    return {"fields": by_field, **by_class}


def _additional(evaluation: Evaluation) -> dict[str, Any]:
    by_field = {name: of.accuracy for name, of in evaluation.fields.items()}
    return {
        "images": len(evaluation.predictions),
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        **({"fields": by_field} if by_field else {}),
    }


def hash_settings(settings: Mapping[str, Any]) -> str:
    """The hash by which runs are compared, of the settings that they have in common in a table."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def title(result: Mapping[str, Any]) -> str:
    """The run in a few words."""
    width = f" width={result['width']:g}" if result["width"] < 1 else ""
    variant = "".join(f" {key}={result[key]}" for key in ("scaling", "align") if result.get(key))
    return f"{result['game']} fold={result['fold']}{width}{variant}"


def format_value(value: Any) -> str:
    """A value of result.json as a command would have it: true, null, 0.5, text as it is."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def method(result: Mapping[str, Any]) -> str:
    """How the network of a run was trained; results of older versions do not say it in words, very old ones not at all:
    ""."""
    if "method" not in result and result["fold"] > 1 and "slots" not in result:
        return ""
    return str(result.get("method") or name_method(result["fold"], result.get("slots", False)))


def name_method(fold: int, slots: bool) -> str:
    """How a network is trained, in words."""
    if fold == 1:
        return "single images"
    return COPIES if slots else "trained on stacks"


def summary(result: Mapping[str, Any], folder: Path) -> str:
    """The lines that are printed at the end of a run."""
    lines = measured_lines(result, title(result))
    if before := result.get("start_accuracy"):
        kept = "" if result["epochs_to_best"] else ", which is kept: no epoch was better in validation"
        lines.append(f"the network that training began with: {before:.2%}{kept}")
    if not result["every_class_in"]:
        kept = "its last epoch" if result["epochs_to_best"] else "its start"
        lines.append(f"the run ended before every class of its curriculum took part: {kept} is kept; give more epochs")
    epochs = f"{result['epochs']} epoch{'s' * (result['epochs'] > 1)}"
    if images := result.get("train_images"):  # older runs do not say
        epochs += f" of {images:,} images".replace(",", " ")
    how = f"{method(result)}: " if result["fold"] > 1 else "trained "
    lines.append(f"{how}{epochs} in {result['train_seconds']:.0f} s; see {folder}")
    if "real" not in result["tests"] and result.get("data", "files") in SYNTHETIC:
        lines.append(
            "not tested on real footage: these figures are for synthetic crops; give real=…, or use foldtext adapt"
        )
    return "\n".join(lines)


def measured_lines(result: Mapping[str, Any], network: str) -> list[str]:
    """The lines about the figures of `evaluation_result` for a `network`: those on real crops first."""
    tests = dict(result["tests"])
    if real := tests.pop("real", None):
        lines = [
            f"{network}: accuracy on real crops {_measured(real, real['images'])}",
            f"on {'the test crops' if result.get('data') == 'folder' else 'synthetic crops'}:"
            f" {_measured(result, result['test_images'])}",
        ]
    else:
        lines = [f"{network}: test accuracy {_measured(result, result['test_images'])}"]
    if result.get("orders"):
        lines.append(
            f"order agreement {result['order_agreement']:.2%} over {result['orders']} orders;"
            f" all agree on {result['order_all_agree']:.2%} of the images"
            + (" (by construction: slots)" if result["slots"] else "")
        )
    return lines + [f"on {name}: {_measured(other, other['images'])}" for name, other in tests.items()]


def _measured(about: Mapping[str, Any], images: int) -> str:
    low, high = about["accuracy_ci95"]
    by_field = "".join(
        f", {name} {of if isinstance(of, float) else of['accuracy']:.2%}"
        for name, of in about.get("fields", {}).items()
    )
    return f"{about['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}, {images} images){by_field}"
