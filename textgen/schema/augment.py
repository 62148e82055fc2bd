"""Degradations of the finished crops, as a video stream causes them. The dataclasses behind conf/augment/*.yaml.

`chance` is the probability that a sample has a degradation. A pair [a, b] is a range from which each sample draws
uniformly.
"""

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
    """Downscale to `scale` times the size by averaging, then upscale to the original size by interpolation."""

    chance: Fraction = 1.0
    scale: Annotated[tuple[Down, Down], AfterValidator(check_ordered)] = (0.75, 0.95)


@dataclass(frozen=True, config=_STRICT)
class GaussianBlur:
    """Gaussian blur with a standard deviation of `sigma` pixels."""

    chance: Fraction = 1.0
    sigma: Annotated[tuple[Blur, Blur], AfterValidator(check_ordered)] = (0.3, 0.8)


@dataclass(frozen=True, config=_STRICT)
class Light:
    """Multiply pixels by 1 ± `contrast` and add ± `brightness`, a fraction of the full scale."""

    chance: Fraction = 1.0
    brightness: Fraction = 0.15
    contrast: Fraction = 0.2


@dataclass(frozen=True, config=_STRICT)
class Noise:
    """Gaussian noise in every pixel and channel; `deviation` is its standard deviation in levels of 255."""

    chance: Fraction = 1.0
    deviation: Annotated[tuple[Levels, Levels], AfterValidator(check_ordered)] = (2.5, 12.5)


@dataclass(frozen=True, config=_STRICT)
class Chroma:
    """Chroma subsampling 4:2:0: colour at half the resolution."""

    chance: Fraction = 1.0


@dataclass(frozen=True, config=_STRICT)
class Jpeg:
    """JPEG compression with 4:2:0 at `quality`, by the libjpeg-turbo of OpenCV."""

    chance: Fraction = 1.0
    quality: Annotated[tuple[Quality, Quality], AfterValidator(check_ordered)] = (40, 95)


@dataclass(frozen=True, config=_STRICT)
class H264:
    """H.264 compression: encode every crop as a short video with x264 and keep the last decoded frame.

    `crf` is the constant rate factor of x264: 0 is lossless, 51 the worst quality. `frames` is the length of the video,
    in which the background moves behind the text. `preset` is the preset of x264. Needs PyAV: pip install
    foldtext[video].
    """

    chance: Fraction = 1.0
    crf: Annotated[tuple[Crf, Crf], AfterValidator(check_ordered)] = (22, 32)
    frames: Annotated[StrictInt, Field(ge=1, le=32)] = 3
    preset: Literal[PRESETS] = "veryfast"  # type: ignore[valid-type]


@dataclass(frozen=True, config=_STRICT)
class Augment:
    """The degradations of a sample: H.264 first, then the others in the order of the fields, each drawn independently.

    `transforms` lists pixel transforms of albumentations.
    """

    resize: Resize | None = None
    blur: GaussianBlur | None = None
    light: Light | None = None
    noise: Noise | None = None
    chroma: Chroma | None = None
    jpeg: Jpeg | None = None
    h264: H264 | None = None
    transforms: tuple[Mapping[str, Any], ...] = ()
