"""A recipe: all that decides how a network is trained. The dataclasses behind conf/recipe/*.yaml."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from textgen.errors import UserError
from textgen.game import validated
from train.curriculum import Curriculum
from train.fold import whole_stacks

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Exceptional:
    """Other settings for one game at one fold, as the paper's footnote 7. The curriculum keeps the recipe's order."""

    game: str
    fold: Annotated[StrictInt, Field(ge=1)]
    epochs: Annotated[StrictInt, Field(ge=1)]
    curriculum: Curriculum


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """Either `epochs` or `images` (seen in training, rounded to whole epochs) says how long; where slots are used and
    `slot_images` is given, it takes the place of `images`: a narrow network is cheaper.

    `batch` counts images; where fold does not divide it, the largest whole number of stacks below it is taken.
    `schedule` "constant" keeps `lr`; "one_cycle" rises to it linearly over `warmup` of the run and falls to zero as a
    cosine. `weight_decay` of "adam" is added to the gradient as L2 (the paper's), that of "adamw" is decoupled.
    `slots` trains, for fold > 1, one network of 1/√f the width on single images and assembles the FoldedCNN from f
    copies of it.
    `curriculum` is for fold > 1 without slots. `init` is that of `train.models.notation.initialise`.
    """

    name: str
    batch: Annotated[StrictInt, Field(ge=1)]
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    epochs: Annotated[StrictInt, Field(ge=1)] | None = None
    images: Annotated[StrictInt, Field(ge=1)] | None = None
    slot_images: Annotated[StrictInt, Field(ge=1)] | None = None
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Literal["reference", "torch"] = "reference"
    slots: bool = False
    curriculum: Curriculum | None = None
    exceptions: tuple[Exceptional, ...] = ()


def recipe_of(
    config: Any, *, game: str, fold: int, train_images: int, epochs: int | None = None, batch: int | None = None
) -> Recipe:
    """The recipe for one run: validated, with its exceptions, `epochs` and `batch` (None: the recipe's own) applied.

    Its `epochs` is set, its `batch` whole stacks. Raises `UserError`.
    """
    recipe = validated(Recipe, config, "recipe")
    if (recipe.epochs is None) == (recipe.images is None):
        raise UserError("recipe: set one of epochs and images, and the other to null")
    for special in recipe.exceptions:
        if (special.game, special.fold) == (game, fold):
            order = recipe.curriculum.order if recipe.curriculum else special.curriculum.order
            recipe = replace(recipe, epochs=special.epochs, curriculum=replace(special.curriculum, order=order))
    images = (recipe.slot_images if recipe.slots and fold > 1 else None) or recipe.images or 0
    length = epochs or recipe.epochs or max(1, round(images / train_images))
    try:
        stacked = whole_stacks(batch or recipe.batch, fold)
    except ValueError as error:
        raise UserError(str(error)) from None
    if recipe.slots and recipe.curriculum:
        raise UserError("recipe: slots learn from single images, a curriculum is for stacks: set one of them to null")
    return replace(recipe, epochs=length, images=None, slot_images=None, batch=stacked, exceptions=())
