"""A game: the texts of its crops, their style and their number. The dataclasses behind conf/game/*.yaml.

Lengths are in pixels of the final crop, colours are "#rrggbb", and chances and fractions lie in 0…1: `chance` is the
probability that a sample has an effect. A pair [a, b] is a range from which each sample draws uniformly; of a list of
colours each sample draws one; a mapping of colours gives weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr
from pydantic.dataclasses import dataclass

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.spec.items import Choice, Items, find_parts
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec, parse_texts

MIN_CROP_SIDE, MAX_CROP_SIDE = 8, 512  # height and width of a crop
MAX_PARTS = 16  # of a text with styles of their own
DEFAULT_ARCH = "C32 M B M C8 M F"  # of a game that names no network

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def check_ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """Return a range; raise `ValueError` if its first number is larger than its second."""
    if not pair[0] <= pair[1]:  # also false for NaN
        raise ValueError(f"the first number of a range is the smaller one, not {list(pair)}")
    return pair


def _check_color(color: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise ValueError(f'a colour is written "#rrggbb", not "{color}"')
    return color


def _check_tag(tag: str) -> str:
    if not re.fullmatch("[ -~]{4}", tag):
        raise ValueError(f'a name of four characters, such as wght, wdth, zero or tnum, not "{tag}"')
    return tag


def _check_part(key: str) -> str:
    if not re.fullmatch(r"[^\[\]\\]|\\.", key):
        raise ValueError(f'a part is a letter of a field or one literal character, as in the spec, not "{key}"')
    return key


def _check_label(label: object) -> object:
    names = label if isinstance(label, list | tuple) else [label]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("it is a field such as S, a list of fields such as [M, S], all, or text")
    return label


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(f'it is the name of a folder: letters, digits, ".", "_" and "-", at most 64, not "{name}"')
    return name


CropSide = Annotated[int, Field(ge=MIN_CROP_SIDE, le=MAX_CROP_SIDE)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[tuple[Fraction, Fraction], AfterValidator(check_ordered)]
Length = Annotated[float, Field(ge=0, le=256)]
Pixels = Annotated[tuple[Length, Length], AfterValidator(check_ordered)]
Levels = Annotated[float, Field(ge=0, le=255)]
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]  # bounds keep sums of weights finite and positive
Color = Annotated[StrictStr, AfterValidator(_check_color)]
Colors = Annotated[tuple[Color, ...] | Mapping[Color, Weight], Field(min_length=1)]
Spacing = Annotated[float, Field(ge=-4, le=64)]
Blur = Annotated[float, Field(ge=0, le=16)]
Line = Annotated[float, Field(ge=0, le=16)]
Gap = Annotated[float, Field(ge=0, le=4)]
Scale = Annotated[float, Field(gt=0, le=8)]
Slant = Annotated[float, Field(ge=-45, le=45)]
Zoom = Annotated[float, Field(ge=0.25, le=32)]
Tag = Annotated[StrictStr, AfterValidator(_check_tag)]
PartKey = Annotated[StrictStr, AfterValidator(_check_part)]
LightFactor = Annotated[float, Field(ge=0, le=255)]  # at 255 every pixel but black is white


@dataclass(frozen=True, config=_STRICT)
class Outline:
    """A line of `width` pixels around every glyph, drawn under the fill."""

    chance: Fraction = 1.0
    width: Annotated[tuple[Line, Line], AfterValidator(check_ordered)] = (0.5, 1.0)
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Shadow:
    """A copy of the text in one of `colors`, shifted and blurred, drawn under outline and fill."""

    chance: Fraction = 1.0
    offset: Pixels = (0.5, 1.5)  # to the right and down, drawn independently
    blur: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (
        0.0,
        1.0,
    )  # standard deviation of the Gaussian
    opacity: Fractions = (0.4, 0.9)
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Glow:
    """A blurred copy of the text in one of `colors`, drawn over panel and shadow and under outline and fill."""

    chance: Fraction = 1.0
    blur: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (
        1.0,
        2.0,
    )  # standard deviation of the Gaussian
    opacity: Fractions = (0.5, 1.0)
    colors: Colors = ("#ffffff",)


@dataclass(frozen=True, config=_STRICT)
class Gradient:
    """A vertical gradient of the fill, from the colour of the text at the top to one of `colors` at the bottom."""

    chance: Fraction = 1.0
    colors: Colors = ("#000000",)


@dataclass(frozen=True, config=_STRICT)
class Panel:
    """A box behind the text, `padding` pixels larger than its ink, with a one-pixel border if `border` has colours."""

    chance: Fraction = 1.0
    padding: Pixels = (1.0, 3.0)
    opacity: Fractions = (0.4, 0.9)
    colors: Colors = ("#000000",)
    border: tuple[Color, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Gaps:
    """Room on both sides of every character that is no letter or digit, as around the colon of `00 : 30`.

    `width` is a multiple of `text.height`, added on each side.
    """

    chance: Fraction = 1.0
    width: Annotated[tuple[Gap, Gap], AfterValidator(check_ordered)] = (0.1, 0.5)


Side = Literal["left", "right", "above", "below"]
Sides = Annotated[tuple[Side, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Icon:
    """A picture beside the text, clipped at the edge of the crop.

    `source` lists kinds of `textgen.assets.icons.KINDS` or folders of PNG files; each sample draws one entry and one of
    `sides`. `gap` is the distance to the text in pixels, `height` the height of the picture as a multiple of the height
    of the ink of the text.
    """

    chance: Fraction = 1.0
    source: Annotated[tuple[StrictStr, ...], Field(min_length=1)] = ("coin", "clock", "heart", "star")
    sides: Sides = ("left", "right")
    gap: Pixels = (1.0, 3.0)
    height: Annotated[tuple[Scale, Scale], AfterValidator(check_ordered)] = (0.9, 1.4)


@dataclass(frozen=True, config=_STRICT)
class Neighbour:
    """Another text in the same style beside the labelled text, clipped at the edge of the crop.

    `texts` has the syntax of `other`: a text with fields, a list of texts, or a mapping from texts to weights. `fields`
    says what its letters stand for. `gap` is the distance to the labelled text in pixels.
    """

    texts: Any  # texts and fields are validated by textgen.spec.parser.parse_texts
    fields: Mapping[StrictStr, Any] | None = None
    chance: Fraction = 1.0
    sides: Sides = ("left", "right", "above", "below")
    gap: Pixels = (1.0, 3.0)


@dataclass(frozen=True, config=_STRICT)
class Part:
    """The style of one field or one literal character where it differs from the rest of the text.

    `size` is a factor of `text.height`; `align` puts a part of another size flush with the top, middle or bottom of the
    digits. `colors` are its own; without any it has the text's. With `icon`, pictures as of `Icon.source`, the part is
    drawn as one of them, `size` times as high as the digits, and no font needs its character.
    """

    size: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    align: Literal["top", "middle", "bottom"] = "bottom"
    colors: tuple[Color, ...] = ()
    icon: tuple[StrictStr, ...] = ()

    def __post_init__(self) -> None:
        if self.icon and self.colors:
            raise ValueError("a part is drawn as an icon or in colours of its own: remove icon or colors")


@dataclass(frozen=True, config=_STRICT)
class Text:
    """The style of a text.

    `fonts` lists families or tags of the catalogue, font files, or folders of font files; a mapping gives weights.
    Fonts that lack a character of the texts are refused, or left out with `incomplete_fonts: skip`. `axes` maps axes of
    variable fonts to ranges, such as {wght: [300, 700]}. `features` are OpenType features, such as
    zero (slashed zero) and tnum (digits of one width), for the fonts that have them. `height` is the height of the
    digits (of the tallest glyph if there are no digits). `variants` is the number of combinations of height, outline
    and slant that a character is drawn in, at most; fewer take less memory and time. `slant` is an angle in degrees,
    positive to the right. `x` and `y` place the text within the free space of the crop: 0 is left or top, 1 is right or
    bottom. `clip` is how far the text may reach beyond every edge of the crop, in heights of its digits; `margin` then
    has no effect. `least` is the minimum height of a letter or digit in a crop, and `contrast` the minimum contrast of
    a crop (`textgen.kernels.contrast.measure_contrast`). `parts` maps letters of fields, and literal characters as the
    spec has them, to their own style.
    """

    fonts: tuple[StrictStr, ...] | Mapping[StrictStr, Weight]
    height: Annotated[tuple[float, float], AfterValidator(check_ordered)]
    incomplete_fonts: Literal["refuse", "skip"] = "refuse"
    variants: Annotated[int, Field(ge=6, le=720)] | None = None
    axes: Mapping[Tag, Annotated[tuple[float, float], AfterValidator(check_ordered)]] | None = None
    features: Annotated[tuple[Tag, ...], Field(max_length=16)] = ()
    colors: Colors = ("#ffffff",)
    color_jitter: Levels = 8.0  # standard deviation per channel, in levels of 255
    opacity: Fractions = (1.0, 1.0)
    spacing: Annotated[tuple[Spacing, Spacing], AfterValidator(check_ordered)] = (
        0.0,
        0.0,
    )  # added between letters
    gaps: Gaps | None = None
    kerning: StrictBool = True
    slant: Annotated[tuple[Slant, Slant], AfterValidator(check_ordered)] = (0.0, 0.0)
    x: Fractions = (0.0, 1.0)
    y: Fractions = (0.0, 1.0)
    margin: Annotated[float, Field(ge=0, le=64)] = 0.5  # pixels kept free around the ink
    clip: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    least: Length = 3.0
    contrast: Levels = 18.0
    gradient: Gradient | None = None
    outline: Outline | None = None
    shadow: Shadow | None = None
    glow: Glow | None = None
    panel: Panel | None = None
    icon: Icon | None = None
    neighbour: Neighbour | None = None
    parts: Annotated[Mapping[PartKey, Part], Field(max_length=MAX_PARTS)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 4 <= self.height[0] <= self.height[1] <= 256:
            raise ValueError(f"height is the height of the digits, 4 to 256 pixels, not {list(self.height)}")


@dataclass(frozen=True, config=_STRICT)
class Background:
    """A source of backgrounds, drawn in proportion to `weight`.

    `source` is a procedural kind (`textgen.assets.backgrounds.KINDS`), a name or tag of the catalogue, an image file,
    or a folder of image files. `zoom` is the number of source pixels per crop pixel, and `light` a factor of the pixel
    values. One of the colours of `tint` covers the patch with the opacity `tint_opacity`, like a translucent panel.
    """

    source: StrictStr
    weight: Weight = 1.0
    zoom: Annotated[tuple[Zoom, Zoom], AfterValidator(check_ordered)] = (1.0, 2.0)
    light: Annotated[tuple[LightFactor, LightFactor], AfterValidator(check_ordered)] = (0.7, 1.2)
    tint: tuple[Color, ...] = ()
    tint_opacity: Fractions = (0.3, 0.8)


Count = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, config=_STRICT)
class Images:
    """The number of images of each class in each split; of several fields, of a class of the largest one.

    `train: 0` makes a data set for validation and test only.
    """

    train: Annotated[int, Field(ge=0, le=1_000_000)]
    val: Count
    test: Count


@dataclass(frozen=True, config=_STRICT)
class Game:
    """A task: read the field `label`, or several fields, of texts that follow `spec`, in crops of `size` (H, W).

    docs/reference/spec.md describes `spec`, `label`, `fields`, `other` and `groups`. `arch` is the network that
    `train` builds for the game, in the paper's notation; the pictures do not depend on it. `title` is for display.

    >>> from omegaconf import OmegaConf
    >>> Game.from_config(OmegaConf.to_container(OmegaConf.load("conf/game/sot_time.yaml"))).classes[:3]
    ('0', '1', '2')
    """

    name: Annotated[StrictStr, AfterValidator(_check_name)]
    spec: StrictStr
    label: Annotated[StrictStr | tuple[StrictStr, ...], BeforeValidator(_check_label)]
    size: tuple[CropSide, CropSide]
    images: Images
    text: Text
    backgrounds: Annotated[tuple[Background, ...], Field(min_length=1)]
    fields: Mapping[StrictStr, Any] | None = None  # checked by Spec.parse
    other: Any = ""  # checked by Spec.parse
    groups: Any = None  # checked by Spec.parse
    arch: StrictStr = DEFAULT_ARCH
    title: StrictStr = ""

    def __post_init__(self) -> None:
        if self.text.height[1] > 2 * self.size[0]:  # drawing letters that never fit would take minutes
            raise ValueError(
                f"text.height goes up to {self.text.height[1]:g} pixels, more than twice the crop's {self.size[0]}: "
                "make it smaller"
            )

    @classmethod
    def from_config(cls, config: Any) -> Game:
        """Validate a plain mapping, as loaded from YAML. Raises `UserError`, and `SpecError` for a wrong spec."""
        game = validate(cls, config, "game")
        _check_parts(game.text.parts, game.parse_spec())
        game.parse_neighbours()
        return game

    def parse_spec(self) -> Spec:
        """Parse the spec. It takes milliseconds: keep the result."""
        return Spec.parse(self.spec, label=self.label, fields=self.fields, other=self.other, groups=self.groups)

    def parse_neighbours(self) -> tuple[Choice[Items], frozenset[str]]:
        """Parse the neighbour texts; return them, or one empty text if there are none, and all their characters."""
        neighbour = self.text.neighbour
        if neighbour is None:
            return Choice(((),)), frozenset()
        return parse_texts("game.text.neighbour.texts", neighbour.texts, neighbour.fields)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in order; "other" is the last. Of several fields, see `LabelFields.classes`."""
        return self.parse_spec().classes

    @property
    def label_fields(self) -> LabelFields:
        """The fields of the label with the classes of each."""
        return self.parse_spec().fields


def _check_parts(parts: Mapping[str, Part], spec: Spec) -> None:
    """Raise `UserError` for a part that no text has."""
    known = set[str]().union(*map(find_parts, (spec.items, *spec.others.options)))
    if unknown := [key for key in parts if key not in known]:
        there = ", ".join(sorted(known))
        raise UserError(f"game.text.parts: {unknown[0]!r} stands nowhere in the spec or in other; there are {there}")
    shown: dict[str, str] = {}
    for key, part in parts.items():
        if part.icon and re.fullmatch("[A-Z]", key):  # an icon would hide the field's value
            hint = "put a character of its own, such as *, beside it"
            raise UserError(f"game.text.parts.{key}.icon: {key} is a field: {hint}")
        for source in part.icon:
            if shown.get(source, key) != key:  # texts that differ in these characters alone would look the same
                raise UserError(
                    f"game.text.parts: {shown[source]} and {key} both show {source}: use one character for it"
                )
            shown[source] = key
