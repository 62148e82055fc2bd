"""A game: what its crops say, how they look and how many there are. The dataclasses behind conf/game/*.yaml.

Lengths are pixels of the finished crop, colours are "#rrggbb", chances and fractions lie in 0…1. A pair [a, b] is a
range that every sample draws from evenly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictStr
from pydantic.dataclasses import dataclass

from textgen.common.validation import validate
from textgen.spec.items import Choice, Items
from textgen.spec.parser import Spec, parse_texts

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def check_ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """For a range: refuse one that runs downwards."""
    if not pair[0] <= pair[1]:  # neither is a NaN
        raise ValueError(f"the first number of a range is the smaller one, not {list(pair)}")
    return pair


def _hex(color: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise ValueError(f'a colour is written "#rrggbb", not "{color}"')
    return color


def _axis(tag: str) -> str:
    if not re.fullmatch("[ -~]{4}", tag):
        raise ValueError(f'an axis has a name of four characters, as wght or wdth, not "{tag}"')
    return tag


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(f'it names a folder: letters, digits, ".", "_" and "-", at most 64, not "{name}"')
    return name


Fraction = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[tuple[Fraction, Fraction], AfterValidator(check_ordered)]
Length = Annotated[float, Field(ge=0, le=256)]
Pixels = Annotated[tuple[Length, Length], AfterValidator(check_ordered)]
Levels = Annotated[float, Field(ge=0, le=255)]
Color = Annotated[StrictStr, AfterValidator(_hex)]
Colors = Annotated[tuple[Color, ...], Field(min_length=1)]
Spacing = Annotated[float, Field(ge=-4, le=64)]
Blur = Annotated[float, Field(ge=0, le=16)]
Line = Annotated[float, Field(ge=0, le=16)]
Scale = Annotated[float, Field(gt=0, le=8)]
Slant = Annotated[float, Field(ge=-45, le=45)]
Zoom = Annotated[float, Field(ge=0.25, le=32)]
Axis = Annotated[StrictStr, AfterValidator(_axis)]
Light = Annotated[float, Field(ge=0, le=255)]  # at which all but black is white
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]  # so that no sum of them overflows or vanishes


@dataclass(frozen=True, config=_STRICT)
class Outline:
    """A line around every glyph, drawn under the fill."""

    chance: Fraction = 1.0
    width: Annotated[tuple[Line, Line], AfterValidator(check_ordered)] = (0.5, 1.0)
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Shadow:
    """The text once more, darker, moved and blurred, under outline and fill."""

    chance: Fraction = 1.0
    offset: Pixels = (0.5, 1.5)  # to the right and down, each drawn by itself
    blur: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (0.0, 1.0)  # standard deviation of the Gaussian
    opacity: Fractions = (0.4, 0.9)
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Glow:
    """Light around the text: the text once more, blurred, over panel and shadow and under outline and fill."""

    chance: Fraction = 1.0
    blur: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (1.0, 2.0)  # standard deviation of the Gaussian
    opacity: Fractions = (0.5, 1.0)
    colors: Colors = ("#ffffff",)


@dataclass(frozen=True, config=_STRICT)
class Gradient:
    """A fill that runs from the text's colour at its top to one of `colors` at its bottom."""

    chance: Fraction = 1.0
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Panel:
    """A box behind the text, `padding` larger than its ink, with a border one pixel wide if `border` has colours."""

    chance: Fraction = 1.0
    padding: Pixels = (1.0, 3.0)
    opacity: Fractions = (0.4, 0.9)
    colors: Colors = ("#000000",)
    border: tuple[Color, ...] = ()


Side = Literal["left", "right", "above", "below"]
Sides = Annotated[tuple[Side, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Icon:
    """A picture beside the text, cut off at the crop's edge: a kind of `textgen.assets.icons.KINDS`, or a folder of
    PNGs.

    `height` is in heights of the text's ink.
    """

    chance: Fraction = 1.0
    source: Annotated[tuple[StrictStr, ...], Field(min_length=1)] = ("coin", "clock", "heart", "star")
    sides: Sides = ("left", "right")
    gap: Pixels = (1.0, 3.0)
    height: Annotated[tuple[Scale, Scale], AfterValidator(check_ordered)] = (0.9, 1.4)


@dataclass(frozen=True, config=_STRICT)
class Neighbour:
    """Another text in the same style beside the one that counts, cut off at the crop's edge.

    `texts` is written as `other` is: a text with fields, a list of such, or a mapping to weights; `fields` says what
    its letters stand for.
    """

    texts: Any  # both checked by textgen.spec.parser.parse_texts
    fields: Mapping[StrictStr, Any] | None = None
    chance: Fraction = 1.0
    sides: Sides = ("left", "right", "above", "below")
    gap: Pixels = (1.0, 3.0)


@dataclass(frozen=True, config=_STRICT)
class Text:
    """How a string is drawn.

    `fonts` names families or tags of the catalogue, font files, or folders of them; a mapping gives weights. `axes`
    are ranges of the axes of variable fonts, as {wght: [300, 700]}. `height` is that of the digits (without digits: of
    the tallest glyph), `slant` an angle in degrees, to the right. `x` and `y` place the text within the room that it
    leaves free: 0 is left or top, 1 right or bottom. `least` is the smallest height that a letter or digit may have in
    a crop, `contrast` the least contrast of a crop, see `textgen.kernels.contrast.contrast`.
    """

    fonts: tuple[StrictStr, ...] | Mapping[StrictStr, Weight]
    height: Annotated[tuple[float, float], AfterValidator(check_ordered)]
    axes: Mapping[Axis, Annotated[tuple[float, float], AfterValidator(check_ordered)]] | None = None
    colors: Colors = ("#ffffff",)
    color_jitter: Levels = 8.0  # standard deviation a channel, in levels of 255
    opacity: Fractions = (1.0, 1.0)
    spacing: Annotated[tuple[Spacing, Spacing], AfterValidator(check_ordered)] = (0.0, 0.0)  # added between letters
    kerning: StrictBool = True
    slant: Annotated[tuple[Slant, Slant], AfterValidator(check_ordered)] = (0.0, 0.0)
    x: Fractions = (0.0, 1.0)
    y: Fractions = (0.0, 1.0)
    margin: Annotated[float, Field(ge=0, le=64)] = 0.5  # kept free around the ink
    least: Length = 3.0
    contrast: Levels = 18.0
    gradient: Gradient | None = None
    outline: Outline | None = None
    shadow: Shadow | None = None
    glow: Glow | None = None
    panel: Panel | None = None
    icon: Icon | None = None
    neighbour: Neighbour | None = None

    def __post_init__(self) -> None:
        if not 4 <= self.height[0] <= self.height[1] <= 256:
            raise ValueError(f"height is that of the digits, 4 to 256 pixels, not {list(self.height)}")


@dataclass(frozen=True, config=_STRICT)
class Background:
    """One source of what lies under the text.

    `source` is a procedural kind (`textgen.assets.backgrounds.KINDS`), a name or tag of the catalogue, an image file,
    or a folder of them. A patch shows `zoom` source pixels a crop pixel, its light multiplied by `light`, then a flat
    `tint` laid over it with `tint_opacity`, as a translucent panel would be.
    """

    source: StrictStr
    weight: Weight = 1.0
    zoom: Annotated[tuple[Zoom, Zoom], AfterValidator(check_ordered)] = (1.0, 2.0)
    light: Annotated[tuple[Light, Light], AfterValidator(check_ordered)] = (0.7, 1.2)
    tint: tuple[Color, ...] = ()
    tint_opacity: Fractions = (0.3, 0.8)


Count = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, config=_STRICT)
class Images:
    """Images of every class in each split. Without `train` a data set serves for validation and test alone."""

    train: Annotated[int, Field(ge=0, le=1_000_000)]
    val: Count
    test: Count


@dataclass(frozen=True, config=_STRICT)
class Game:
    """A task: classify the field `label` of texts that follow `spec` (see docs/spec.md) in crops of `size` (H, W).

    `arch` is the network that `train` builds for it, in the paper's notation; pictures do not depend on it.

    >>> from omegaconf import OmegaConf
    >>> Game.from_config(OmegaConf.to_container(OmegaConf.load("conf/game/sot_time.yaml"))).classes[:3]
    ('0', '1', '2')
    """

    name: Annotated[StrictStr, AfterValidator(_file_name)]
    spec: StrictStr
    label: StrictStr
    size: tuple[Annotated[int, Field(ge=8, le=512)], Annotated[int, Field(ge=8, le=512)]]
    images: Images
    text: Text
    backgrounds: Annotated[tuple[Background, ...], Field(min_length=1)]
    fields: Mapping[StrictStr, Any] | None = None  # checked by Spec.parse
    other: Any = ""  # checked by Spec.parse
    arch: StrictStr = "C32 M B M C8 M F"
    title: StrictStr = ""  # for people alone

    def __post_init__(self) -> None:
        if self.text.height[1] > 2 * self.size[0]:  # minutes of drawing letters that never fit
            raise ValueError(
                f"text.height goes up to {self.text.height[1]:g} pixels, more than twice the crop's {self.size[0]}: "
                "make it smaller"
            )

    @classmethod
    def from_config(cls, config: Any) -> Game:
        """Validate a plain mapping, as YAML gives it. Raises `UserError`, a `SpecError` for the text among them."""
        game = validate(cls, config, "game")
        game.parse_spec()
        game.parse_neighbours()
        return game

    def parse_spec(self) -> Spec:
        """The parsed spec. Parsing takes milliseconds: keep what it returns."""
        return Spec.parse(self.spec, label=self.label, fields=self.fields, other=self.other)

    def parse_neighbours(self) -> tuple[Choice[Items], frozenset[str]]:
        """The texts beside the one that counts, and all their characters; without any a choice of one empty text."""
        neighbour = self.text.neighbour
        if neighbour is None:
            return Choice(((),)), frozenset()
        return parse_texts("game.text.neighbour.texts", neighbour.texts, neighbour.fields)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.parse_spec().classes
