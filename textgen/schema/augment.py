"""What a stream does to crops: the dataclasses behind conf/augment/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from textgen.schema.game import Blur, Fraction, Levels, check_ordered

_STRICT = ConfigDict(extra="forbid")
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
Crf = Annotated[StrictInt, Field(ge=0, le=51)]
Quality = Annotated[StrictInt, Field(ge=1, le=100)]
Down = Annotated[float, Field(ge=0.1, le=1)]


@dataclass(frozen=True, config=_STRICT)
class Resize:
    """Sent smaller: averaged down to `scale` of the size and interpolated back."""

    chance: Fraction = 1.0
    scale: Annotated[tuple[Down, Down], AfterValidator(check_ordered)] = (0.75, 0.95)


@dataclass(frozen=True, config=_STRICT)
class GaussianBlur:
    """A Gaussian with a standard deviation of `sigma` pixels."""

    chance: Fraction = 1.0
    sigma: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (0.3, 0.8)


@dataclass(frozen=True, config=_STRICT)
class Light:
    """Pixels times 1 ± `contrast`, plus ± `brightness` of the full scale."""

    chance: Fraction = 1.0
    brightness: Fraction = 0.15
    contrast: Fraction = 0.2


@dataclass(frozen=True, config=_STRICT)
class Noise:
    """Normal noise in every pixel and channel, its standard deviation in levels of 255."""

    chance: Fraction = 1.0
    deviation: Annotated[tuple[Levels, Levels], AfterValidator(check_ordered)] = (2.5, 12.5)


@dataclass(frozen=True, config=_STRICT)
class Chroma:
    """Colour at half the resolution, 4:2:0."""

    chance: Fraction = 1.0


@dataclass(frozen=True, config=_STRICT)
class Jpeg:
    """Compressed and read again, in 4:2:0, by libjpeg-turbo within OpenCV."""

    chance: Fraction = 1.0
    quality: Annotated[tuple[Quality, Quality], AfterValidator(check_ordered)] = (40, 95)


@dataclass(frozen=True, config=_STRICT)
class H264:
    """Every crop as a short video of its own, through x264 and back; it keeps the last frame.

    `crf` is x264's quality (0 without loss, 51 worst), `frames` the length in which the background drifts behind the
    standing text, `preset` x264's. Needs PyAV: pip install foldtext[video].
    """

    chance: Fraction = 1.0
    crf: Annotated[tuple[Crf, Crf], AfterValidator(check_ordered)] = (22, 32)
    frames: Annotated[StrictInt, Field(ge=1, le=32)] = 3
    preset: Literal[PRESETS] = "veryfast"  # type: ignore[valid-type]


@dataclass(frozen=True, config=_STRICT)
class Augment:
    """H.264 first and then in this order, each of them drawn for a sample by itself.

    `transforms` are albumentations' pixel transforms.
    """

    resize: Resize | None = None
    blur: GaussianBlur | None = None
    light: Light | None = None
    noise: Noise | None = None
    chroma: Chroma | None = None
    jpeg: Jpeg | None = None
    h264: H264 | None = None
    transforms: tuple[Mapping[str, Any], ...] = ()
