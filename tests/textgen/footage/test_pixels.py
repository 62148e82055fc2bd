"""Regions of decoded frames have the colours that swscale gives the whole frame, and those that were encoded."""

from pathlib import Path

import av
import numpy as np
import pytest
from videos import colorful, write_video

from textgen.footage.frames import open_frames
from textgen.footage.pixels import DecodedPixels
from textgen.footage.regions import Region

SPACES = {"itu709": 1, "itu601": 6, "smpte240m": 7, "fcc": 4, "bt2020": 9}
PLACES = [
    (0, 0, 160, 96),
    (1, 1, 1, 1),
    (31, 17, 45, 33),
    (30, 17, 44, 32),
    (31, 16, 46, 33),
    (159, 95, 1, 1),
    (3, 0, 157, 96),
]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("color_range", ["MPEG", "JPEG"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "nv12", "nv21"])
def test_a_region_is_what_swscale_makes_of_it(
    space: str, color_range: str, pixel_format: str, rng: np.random.Generator
) -> None:
    original = colorful(rng)
    frame = av.VideoFrame.from_ndarray(original, "rgb24").reformat(
        format=pixel_format, dst_colorspace=space, dst_color_range=color_range
    )
    frame.colorspace, frame.color_range = SPACES[space], 2 if color_range == "JPEG" else 1
    whole = frame.reformat(format="rgb24", dst_color_range="JPEG", interpolation="POINT").to_ndarray().astype(int)
    pixels = DecodedPixels(frame)
    assert pixels.size == (96, 160)
    for left, top, width, height in PLACES:
        crop = pixels.crop(left, top, width, height)
        assert crop.shape == (height, width, 3)
        expected = whole[top : top + height, left : left + width]
        assert np.abs(crop - expected).max() <= 4, (left, top, width, height)
    assert np.abs(pixels.crop(0, 0, 160, 96) - original.astype(int)).mean() < 4  # the colours that went in


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "gray", "rgb24", "bgr0", "yuyv422", "yuv411p"])
def test_other_formats_are_converted_whole(pixel_format: str, rng: np.random.Generator) -> None:
    frame = av.VideoFrame.from_ndarray(colorful(rng), "rgb24").reformat(format=pixel_format)
    whole = frame.to_ndarray(format="rgb24")
    assert np.array_equal(DecodedPixels(frame).crop(31, 17, 45, 33), whole[17:50, 31:76])


def test_a_crop_is_a_part_of_the_whole_frame_and_the_callers(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write_video(tmp_path / "a.mp4", [colorful(rng, (90, 162))] * 3)  # the decoder's rows are longer
    with open_frames(path) as reader:
        for frame in reader:
            whole = frame.rgb()
            assert whole.shape == (90, 162, 3)
            crop = frame.crop(Region("a", 31, 17, 45, 33))
            assert np.array_equal(crop, whole[17:50, 31:76])
            crop[:] = 0
            assert np.array_equal(frame.rgb(), whole)


@pytest.mark.parametrize(("space", "number"), [("itu709", 1), ("itu601", 6)])
@pytest.mark.parametrize(("color_range", "range_number"), [("MPEG", 1), ("JPEG", 2)])
def test_colours_survive_an_encoder_that_states_their_space(
    tmp_path: Path, space: str, number: int, color_range: str, range_number: int, rng: np.random.Generator
) -> None:
    original = colorful(rng)
    path = write_video(
        tmp_path / "a.mp4", [original] * 2, options={"crf": "4"}, colorspace=number, color_range=range_number
    )
    with av.open(path) as container:
        first = next(container.decode(video=0))
        assert (int(first.colorspace), int(first.color_range)) == (number, range_number)
    with open_frames(path) as reader:
        assert np.abs(next(iter(reader)).rgb() - original.astype(int)).mean() < 4
