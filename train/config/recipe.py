"""A recipe: all that decides how a network is trained. The dataclasses behind conf/recipe/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common.errors import UserError
from textgen.common.validation import Positive, validate
from textgen.schema.split import Share
from train.config.curriculum import Curriculum
from train.config.fields import MAX_FOLD
from train.config.renamed_settings import rename_recipe_keys
from train.folding.arithmetic import whole_stacks

_STRICT = ConfigDict(extra="forbid")
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LAYERS = ("norm", "characters", "auxiliary", "dropout", "init")  # of networks of the notation alone
DataSource = Literal["files", "live"]
Kind = Literal["game", "folder", "video", "cifar"]  # what a run learns: crops of a game, of a folder, or a task


def kind_of(data: str | None) -> Kind:
    """What a run learns, by its kind of data: crops of a game are stored files or live ones."""
    return next((kind for kind in get_args(Kind) if kind == data), "game")


@dataclass(frozen=True, config=_STRICT)
class Distill:
    """A teacher of the original width gives logits for the same view of every image, and the network learns from them.

    The loss is `weight` times the difference to the teacher plus 1 - `weight` times the cross entropy of the labels.
    The difference is, for "kl", the Kullback-Leibler divergence of the softmax at `temperature`, times its square
    (Hinton et al., 2015), and for "mse" the mean squared difference of the logits (Ba & Caruana, 2014).
    """

    loss: Literal["kl", "mse"] = "kl"
    temperature: Rate = 1.0
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, config=_STRICT)
class StepDecay:
    """After every `every` epochs of a run of `of` epochs, the learning rate is multiplied by `factor`.

    In a run of another length the steps are at the same fractions of it.
    """

    factor: Annotated[float, Field(gt=0, le=1)]
    every: Positive
    of: Positive


@dataclass(frozen=True, config=_STRICT)
class Override:
    """Settings of the recipe, `set`, for `games` or tasks of these names, of a `kind`, at a `fold`; null: for all."""

    set: Mapping[str, Any]
    games: tuple[str, ...] | None = None
    fold: Positive | None = None
    kind: Kind | None = None

    def applies(self, game: str, fold: int, kind: Kind) -> bool:
        fits_game = self.games is None or game in self.games
        return fits_game and self.fold in (None, fold) and self.kind in (None, kind)


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """The settings of a recipe, with values in conf/recipe/*.yaml; only `distill`, `curriculum` and `step_decay` have
    defaults here.

    Length: either `epochs` or `images` (seen in training, rounded to whole epochs). `images` is for the original's
    arithmetic: a narrower network sees more, `fold` times as many with slots and 1/width² times with `width`, at most
    `MAX_FOLD` times. With data=live, and a length in images, epochs are so short that there are `min_epochs`. `data` is
    what a run trains on that does not say it. `batch` counts images; where fold does not divide it, the largest number
    of whole stacks below it is taken.

    Optimiser: "muon" takes `muon_lr` and `muon_weight_decay` for the convolutions, and AdamW with `lr` and
    `weight_decay` for the rest (`train.trainer.optimizers`). `schedule` "constant" keeps `lr`; "one_cycle" rises to it
    linearly over the share `warmup` of the run and falls to zero as a cosine; "step" is the `step_decay`.
    `weight_decay` is added to the gradient as L2 by "adam" (the paper's), "rmsprop" and "sgd"; in "adamw" it is
    decoupled, as `muon_weight_decay` is.

    Training-only layers (`train.models.training_layers`), absent from the network that results: `norm`, a batch norm
    behind every convolution or the pool that follows it; `dropout`; `shared_block`, for stacks, weights that all slots
    share, added to the free ones, whose steps are `free_lr` times as long; `characters`, weights of the last layer that
    classes share by the characters of their names; `auxiliary`, the weight of the loss of an auxiliary head. For stacks
    the latter two need `shared_block`. A network that is a module has shared blocks only. `init` is "reference", as the
    published code initialises, or "torch".
    `ema_decay` is the decay per step of an exponential moving average of the weights, which is then evaluated and kept.

    Folding: for fold > 1 the network is trained on random stacks, with the `curriculum`. With `slots`, instead, one
    network of 1/√f the width is trained on single images, and the FoldedCNN is assembled of f copies of it. `distill`
    is for fold > 1, and for every run that is given a teacher. `order_consistency`, for stacks, times the divergence
    between predictions for a stack and for the same stack rolled is added to the loss
    (`train.trainer.order_consistency`).

    `field_weights` weights the fields' losses of a label of several fields, by their names; 1 for those that it leaves
    out, and None for all.

    `needs_start` refuses a run that begins from no trained network (`start=`). `overrides` have
    priority over the other settings, and a later one over an earlier one.
    """

    name: str
    epochs: Positive | None
    images: Positive | None
    min_epochs: Positive
    data: DataSource
    batch: Positive
    optimizer: Literal["adam", "adamw", "muon", "rmsprop", "sgd"]
    lr: Rate
    weight_decay: Weight
    muon_lr: Rate | None  # None: the optimiser is not muon
    muon_weight_decay: Weight | None
    schedule: Literal["constant", "one_cycle", "step"]
    warmup: Share
    label_smoothing: Share
    norm: StrictBool
    dropout: Share
    init: Literal["reference", "torch"]
    characters: StrictBool
    auxiliary: Weight
    ema_decay: Share
    slots: StrictBool
    shared_block: StrictBool
    free_lr: Annotated[float, Field(ge=0, le=1)]
    order_consistency: Weight
    distill: Distill | None
    curriculum: Curriculum | None
    needs_start: StrictBool
    overrides: tuple[Override, ...]
    step_decay: StepDecay | None = None
    field_weights: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None


def parse_recipe(config: Mapping[str, Any]) -> Recipe:
    """A recipe as its file has it, before it is fitted to a run. Raises `UserError`."""
    current = rename_recipe_keys(config)
    names = Recipe.__dataclass_fields__
    missing = [name for name in names if name not in current and name not in ("step_decay", "field_weights")]
    if missing and current.keys() <= names.keys():  # a misspelt key is the better message
        raise UserError(
            f"recipe.{missing[0]} is missing: set it in the recipe's file, or begin the file with"
            " defaults: [default, _self_] (or paper) for the values of that recipe"
        )
    return validate(Recipe, current, "recipe")


def compared_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe as a command has it, without settings that were added later, where they are not used."""
    recipe = {key: value for key, value in rename_recipe_keys(config).items() if key != "data"}
    if recipe.get("field_weights") is None:
        recipe.pop("field_weights", None)
    return {**recipe, "curriculum": describe_curriculum(recipe.get("curriculum"))}


def describe_curriculum(curriculum: Any) -> Any:
    """A curriculum's settings without its field, where none is named."""
    if not isinstance(curriculum, Mapping):
        return curriculum
    return {key: value for key, value in curriculum.items() if key != "field" or value is not None}


def fit_recipe(
    config: Mapping[str, Any],
    *,
    game: str,
    fold: int,
    train_images: int,
    kind: Kind = "game",
    width: float = 1.0,
    module: bool = False,
    teacher: bool = False,
    epochs: int | None = None,
    batch: int | None = None,
) -> Recipe:
    """The recipe of one run: validated, with its overrides, `epochs` and `batch` (None: the recipe's) applied.

    `game` is the name of a game or task, `kind` what that is. `module` says that the network is not of the notation.
    What the run does not use, or what its task holds (`data`), is reset: `images` and the settings of another optimiser
    are None, `batch` counts whole stacks; `slots`, `curriculum` and, but for a run with a `teacher`, `distill` are off
    at fold=1; of training-only layers, a network that is a module has shared blocks only. Raises `UserError`.
    """
    recipe = _with_overrides(config, game, fold, kind)
    _check(recipe)
    if module:
        recipe = _without_layers(recipe)
    slots, muon, single = recipe.slots and fold > 1, recipe.optimizer == "muon", fold == 1
    shared = recipe.shared_block and not slots and not single
    images = _images_of_run(recipe, fold, width)
    try:
        stacked = whole_stacks(batch or recipe.batch, fold)
    except ValueError as error:
        raise UserError(str(error)) from None
    return replace(
        recipe,
        epochs=epochs or recipe.epochs or max(1, round(images / train_images)),
        images=None,
        min_epochs=1,
        data="files",
        muon_lr=recipe.muon_lr if muon else None,
        muon_weight_decay=recipe.muon_weight_decay if muon else None,
        batch=stacked,
        slots=slots,
        shared_block=shared,
        free_lr=recipe.free_lr if shared else 1.0,
        characters=recipe.characters and (slots or single or shared),
        auxiliary=recipe.auxiliary if slots or single or shared else 0.0,
        order_consistency=0.0 if single else recipe.order_consistency,
        curriculum=None if single else recipe.curriculum,
        distill=recipe.distill or Distill() if teacher else (None if single else recipe.distill),
        overrides=(),
    )


def live_epoch(
    config: Mapping[str, Any], *, game: str, fold: int, width: float, classes: int, most: int, epochs: int | None
) -> int:
    """The images of an epoch of data=live: at most `most`, and so few that the run has the recipe's `min_epochs`.

    A multiple of the number of classes. Where a number of `epochs` is given, here or in the recipe, it is `most`.
    Raises `UserError`.
    """
    recipe = _with_overrides(config, game, fold, "game")
    if epochs or recipe.epochs:
        return most
    per_class = round(_images_of_run(recipe, fold, width) / recipe.min_epochs / classes)
    return min(most, max(per_class, 1) * classes)


def _images_of_run(recipe: Recipe, fold: int, width: float) -> float:
    """How many images a run sees whose length is given in images, which are for the original's operations."""
    return (recipe.images or 0) * (fold if recipe.slots else 1) * min(1 / width**2, MAX_FOLD)


def _without_layers(recipe: Recipe) -> Recipe:
    """The recipe without layers, and initial weights, that only networks of the notation can be given.

    Raises `UserError` for slots.
    """
    if recipe.slots:
        raise UserError(
            "recipe.slots is for networks of the notation, and this one is a module: give recipe=default, or set"
            " recipe.slots=false"
        )
    off: dict[str, Any] = {"norm": False, "characters": False, "auxiliary": 0.0, "dropout": 0.0}
    return replace(recipe, **off, init="torch")


def without_overridden(config: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A recipe whose overrides no longer set what the command sets, at `paths` such as "curriculum.every"."""
    config = rename_recipe_keys(config, given=paths)
    overrides = config.get("overrides")
    keys = [path.split(".") for path in paths]
    if not isinstance(overrides, list) or ["overrides"] in keys:
        return config
    kept = [
        {**entry, "set": _without(rename_recipe_keys(entry["set"]), keys)}
        if isinstance(entry, Mapping) and isinstance(entry.get("set"), Mapping)
        else entry
        for entry in overrides
    ]
    return {**config, "overrides": kept}


def _with_overrides(config: Mapping[str, Any], game: str, fold: int, kind: Kind) -> Recipe:
    recipe = parse_recipe(config)
    config = rename_recipe_keys(config)
    for number, override in enumerate(recipe.overrides):
        where = f"recipe.overrides[{number}].set"
        if "data" in override.set:
            raise UserError(f"{where}.data: all games are trained on the same: give recipe.data")
        if override.applies(game, fold, kind):
            changes = rename_recipe_keys(override.set)
            config = {**config, **_merged(config, changes), "overrides": ()}
            recipe = replace(validate(Recipe, config, where), overrides=recipe.overrides)
    return recipe


def _check(recipe: Recipe) -> None:
    """Raise `UserError` for settings that contradict each other."""
    if (recipe.epochs is None) == (recipe.images is None):
        given = f"epochs={recipe.epochs} and images={recipe.images}".replace("None", "null")
        raise UserError(f"recipe: set one of epochs and images, and the other to null, not {given}")
    if recipe.optimizer == "muon" and None in (recipe.muon_lr, recipe.muon_weight_decay):
        raise UserError("recipe: optimizer=muon needs muon_lr and muon_weight_decay, as in conf/recipe/default.yaml")
    if (recipe.schedule == "step") != (recipe.step_decay is not None):
        raise UserError(
            "recipe: schedule=step and step_decay={factor: …, every: …, of: …} belong together: give both, or neither"
        )
    if recipe.slots and recipe.curriculum:
        raise UserError(
            "recipe: slots learn from single images, a curriculum is for stacks: give recipe=slots, or set"
            " recipe.slots=false or recipe.curriculum=null"
        )
    if recipe.slots and recipe.order_consistency:
        raise UserError(
            "recipe: slots learn from single images, order_consistency is for stacks: set recipe.slots=false, or"
            " recipe.order_consistency=0"
        )


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes`, with mappings merged into those of `config` instead of replacing them."""
    return {
        key: {**config[key], **value} if isinstance(value, Mapping) and isinstance(config.get(key), Mapping) else value
        for key, value in changes.items()
    }


def _without(settings: Mapping[str, Any], keys: Sequence[Sequence[str]]) -> dict[str, Any]:
    """`settings` without what the paths `keys` lead to, and without mappings that are empty then."""
    left = {}
    for name, value in settings.items():
        inner = [key[1:] for key in keys if key[0] == name]
        if [] in inner:
            continue
        if not inner or not isinstance(value, Mapping):
            left[name] = value
        elif kept := _without(value, inner):
            left[name] = kept
    return left
