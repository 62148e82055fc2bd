"""A recipe: all that decides how a network is trained. The dataclasses behind conf/recipe/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common.errors import UserError
from textgen.schema.game import validated
from train.config.curriculum import Curriculum, Positive
from train.config.settings import MAX_FOLD
from train.folding.arithmetic import whole_stacks

_STRICT = ConfigDict(extra="forbid")
MUON_LR, MUON_WEIGHT_DECAY = 0.02, 0.1  # where a recipe does not say them, or does not use them
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class Distill:
    """A teacher of the original width gives logits for the same view of every image, and the network learns from them.

    The loss is `weight` times the difference to the teacher and 1 - `weight` times the cross entropy of the labels.
    The difference is, for "kl", the Kullback-Leibler divergence of the softmax at `temperature` times its square
    (Hinton et al., 2015), and for "mse" the mean squared difference of the logits (Ba & Caruana, 2014).
    """

    loss: Literal["kl", "mse"] = "kl"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, config=_STRICT)
class Special:
    """Other settings, `set`, for `games` (all, if null) at `fold` (any, if null): whatever keys a recipe has."""

    set: Mapping[str, Any]
    games: tuple[str, ...] | None = None
    fold: Positive | None = None

    def applies(self, game: str, fold: int) -> bool:
        return (self.games is None or game in self.games) and self.fold in (None, fold)


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """Either `epochs` or `images` (seen in training, rounded to whole epochs) says how long. `images` is for the
    original's arithmetic: what is narrower sees more, `fold` times as many with slots, and 1/width² times with `width`,
    at most `MAX_FOLD`.
    `data` is that of a run which does not say it.

    `batch` counts images; where fold does not divide it, the largest whole number of stacks below it is taken. "muon"
    takes `muon_lr` and `muon_weight_decay` for the convolutions, and AdamW with `lr` and `weight_decay` for the rest
    (`train.trainer.optimizers`). `schedule` "constant" keeps `lr`; "one_cycle" rises to it linearly over `warmup` of
    the run and falls to zero as a cosine. `weight_decay` is added to the gradient as L2 by "adam" (the paper's),
    "rmsprop" and "sgd", and decoupled in "adamw", as is `muon_weight_decay`. `norm`, `dropout` and `init` are those of
    `train.models.notation`: a batch norm behind every convolution, or the pool that follows, steadies the training and
    is part of the convolution in the network that comes out. `characters` lets classes share weights of the last layer
    by what they are written with, and `auxiliary` is the weight of the loss of a second, wider end of the network
    (`train.models.training_layers`); both are for networks of single images, slots or fold=1, and neither is in what
    comes out. `average` is the decay per step of an exponential average of the weights, which then are what is
    evaluated and kept. `slots` trains, for fold > 1, one network of 1/√f the width on single images and assembles the
    FoldedCNN from f copies of it. `distill` is for fold > 1, and for whatever is given a teacher. `curriculum`,
    `between_slots` and `consistency` are for fold > 1 without slots: the steps of weights that lead from one slot to
    another are `between_slots` times as long, and `consistency` times the divergence between the answers to a stack and
    to the same one turned is added to the loss (`train.trainer.cross_slot`). `needs_start` refuses a run that begins
    from no trained network (`start=`). `special` settings go before the others, the later before the earlier.
    """

    name: str
    batch: Positive
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    epochs: Positive | None = None
    images: Positive | None = None
    data: Literal["files", "live"] = "files"
    optimizer: Literal["adam", "adamw", "muon", "rmsprop", "sgd"] = "adam"
    muon_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = MUON_LR
    muon_weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = MUON_WEIGHT_DECAY
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    warmup: Share = 0.2
    label_smoothing: Share = 0.0
    norm: StrictBool = False
    dropout: Share = 0.0
    init: Literal["reference", "torch"] = "reference"
    characters: StrictBool = False
    auxiliary: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    average: Share = 0.0
    slots: StrictBool = False
    between_slots: Annotated[float, Field(ge=0, le=1)] = 1.0
    consistency: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    distill: Distill | None = None
    curriculum: Curriculum | None = None
    needs_start: StrictBool = False
    special: tuple[Special, ...] = ()


def data_of(config: Mapping[str, Any]) -> Literal["files", "live"]:
    """What a recipe trains on, files or live crops. Raises `UserError`."""
    return validated(Recipe, config, "recipe").data


def recipe_of(
    config: Mapping[str, Any],
    *,
    game: str,
    fold: int,
    train_images: int,
    width: float = 1.0,
    teacher: bool = False,
    epochs: int | None = None,
    batch: int | None = None,
) -> Recipe:
    """The recipe for one run: validated, with what is special to it, `epochs` and `batch` (None: its own) applied.

    What the run does not use, or what its task holds (`data`), is gone: its `epochs` is set, its `batch` whole stacks;
    `slots`, `curriculum` and, but for a run that is given a `teacher`, `distill` are off at fold=1. Raises `UserError`.
    """
    recipe = validated(Recipe, config, "recipe")
    for number, special in enumerate(recipe.special):
        if "data" in special.set:
            raise UserError(f"recipe.special[{number}].set.data: all games are trained on the same: give recipe.data")
        if special.applies(game, fold):
            settings = {**config, **_merged(config, special.set), "special": ()}
            recipe = replace(validated(Recipe, settings, f"recipe.special[{number}].set"), special=recipe.special)
            config = settings
    if (recipe.epochs is None) == (recipe.images is None):
        given = f"epochs={recipe.epochs} and images={recipe.images}".replace("None", "null")
        raise UserError(f"recipe: set one of epochs and images, and the other to null, not {given}")
    if recipe.slots and recipe.curriculum:
        raise UserError(
            "recipe: slots learn from single images, a curriculum is for stacks:"
            " set recipe.slots=false or recipe.curriculum=null"
        )
    if recipe.slots and (recipe.between_slots, recipe.consistency) != (1, 0):
        raise UserError(
            "recipe: slots learn from single images, between_slots and consistency are for stacks:"
            " set slots=false, or them to 1 and 0"
        )
    slots, muon = recipe.slots and fold > 1, recipe.optimizer == "muon"
    images = (recipe.images or 0) * (fold if slots else 1) * min(1 / width**2, MAX_FOLD)
    try:
        stacked = whole_stacks(batch or recipe.batch, fold)
    except ValueError as error:
        raise UserError(str(error)) from None
    return replace(
        recipe,
        epochs=epochs or recipe.epochs or max(1, round(images / train_images)),
        images=None,
        data="files",
        muon_lr=recipe.muon_lr if muon else MUON_LR,
        muon_weight_decay=recipe.muon_weight_decay if muon else MUON_WEIGHT_DECAY,
        batch=stacked,
        slots=slots,
        characters=recipe.characters and (slots or fold == 1),
        auxiliary=recipe.auxiliary if slots or fold == 1 else 0.0,
        between_slots=recipe.between_slots if fold > 1 else 1.0,
        consistency=recipe.consistency if fold > 1 else 0.0,
        curriculum=recipe.curriculum if fold > 1 else None,
        distill=recipe.distill or Distill() if teacher else (recipe.distill if fold > 1 else None),
        special=(),
    )


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes`, where a mapping within one adds to the mapping that stands there."""
    return {
        key: {**config[key], **value} if isinstance(value, Mapping) and isinstance(config.get(key), Mapping) else value
        for key, value in changes.items()
    }
