from typing import Any

import cv2
import numpy as np
import pytest

from textgen.common.validation import validate
from textgen.kernels import tables
from textgen.kernels.degrade import LEVELS, Bands, build_degradation_table, degrade
from textgen.render import image_codecs
from textgen.schema.augment import Augment

SIZE = (21, 34)
STEPS: dict[str, dict[str, Any]] = {
    "resize": {"scale": [0.5, 0.8]},
    "blur": {"sigma": [0.5, 1]},
    "light": {"brightness": 0.2, "contrast": 0.2},
    "noise": {"deviation": [5, 10]},
    "chroma": {},
    "jpeg": {"quality": [30, 60]},
}


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Colours that change smoothly, with some sharp edges, uint8 (n, H, W, 3), away from black and white."""
    rng = np.random.default_rng(seed)
    soft = [cv2.GaussianBlur(rng.uniform(0, 255, (*size, 3)), (0, 0), 2) for _ in range(count)]
    images = np.clip((np.array(soft) - 127) * 3 + 127, 60, 190)
    images[:, 5:9, 10:20] = images[:, 5:9, 10:20] * 0.5 + 50
    return images.round().astype(np.uint8)


def degraded(images: np.ndarray, start: int = 0, status: int = tables.OK, **steps: Any) -> np.ndarray:
    """Copies of images (n, H, W, 3), degraded by these steps, JPEG included."""
    augment = validate(Augment, steps, "augment")
    samples = np.zeros(len(images), tables.SAMPLE)
    samples["index"], samples["status"] = np.arange(start, start + len(images)), status
    out, qualities = images.copy(), np.zeros(len(images), np.int64)
    degrade(samples, out, np.uint64(7), build_degradation_table(augment, images.shape[1:3]), qualities)
    image_codecs.apply_jpeg(out, qualities)
    return out


@pytest.mark.parametrize("step", STEPS)
def test_each_step_changes_a_crop_at_chance_one_and_none_at_chance_zero(step: str) -> None:
    images = pictures(80)
    always, never, half = (degraded(images, **{step: {**STEPS[step], "chance": chance}}) for chance in (1, 0, 0.5))
    np.testing.assert_array_equal(never, images)
    assert (always != images).any((1, 2, 3)).sum() >= 78, "light can happen to change nothing"
    assert 20 <= (half != images).any((1, 2, 3)).sum() <= 60
    assert (np.abs(always.astype(int) - images).mean((1, 2, 3)) < 90).all(), "a crop stays recognisable"
    np.testing.assert_array_equal(degraded(images, status=tables.TOO_LARGE, **{step: {}}), images)


def test_a_sample_is_degraded_equally_in_every_batch() -> None:
    images = pictures(20)
    together = degraded(images, **STEPS)
    np.testing.assert_array_equal(degraded(images[12:], start=12, **STEPS), together[12:])
    same = degraded(np.repeat(images[:1], 20, 0), **STEPS)
    assert len({image.tobytes() for image in same}) == 20, "and samples differ"


def test_steps_are_drawn_independently_of_each_other() -> None:
    """Grey crops with one edge: blur softens it, light moves the mean."""
    images = np.full((400, *SIZE, 3), 100, np.uint8)
    images[:, :, 17:] = 140
    blur, light = {"chance": 0.5, "sigma": [1, 1]}, {"chance": 0.5, "contrast": 0.3, "brightness": 0.3}
    out = degraded(images, blur=blur, light=light)
    blurred = np.array([len(np.unique(image)) > 2 for image in out])
    lit = np.array([image[0, 0, 0] != 100 for image in out])
    for one in (True, False):
        for two in (True, False):
            assert 60 <= ((blurred == one) & (lit == two)).sum() <= 140  # 100 expected, sd 9


def dense(bands: Bands, level: int) -> np.ndarray:
    """A matrix (n, n) from its bands."""
    n, width = bands.weights.shape[1:]
    matrix = np.zeros((n, n))
    for row in range(n):
        first = bands.starts[level, row]
        assert 0 <= first <= n - width
        matrix[row, first : first + width] = bands.weights[level, row]
    return matrix


@pytest.mark.parametrize(
    "steps", [{"blur": {"sigma": [0, 16]}}, {"resize": {"scale": [0.1, 1]}}, {"blur": {"sigma": [1, 1]}}]
)
@pytest.mark.parametrize("size", [(8, 8), SIZE, (64, 100)])
def test_bands_keep_the_sum_of_every_pixel(steps: dict[str, Any], size: tuple[int, int]) -> None:
    table = build_degradation_table(validate(Augment, steps, "augment"), size)
    names = ("blur_y", "blur_x") if "blur" in steps else ("resize_y", "resize_x")
    for bands, n in zip((getattr(table, name) for name in names), size, strict=True):
        assert len(bands.weights) == (1 if steps.get("blur") == {"sigma": [1, 1]} else LEVELS)
        for level in range(len(bands.weights)):
            matrix = dense(bands, level)
            assert matrix.shape == (n, n)
            assert (matrix >= 0).all()
            np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
            np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=2e-3)  # both ends are alike


@pytest.mark.parametrize("step", ["resize", "blur", "chroma"])
def test_a_flat_crop_stays_flat(step: str) -> None:
    for level in (0, 1, 127, 254, 255):
        flat = np.full((4, *SIZE, 3), level, np.uint8)
        np.testing.assert_array_equal(degraded(flat, **{step: STEPS[step]}), flat)


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.5, 4])
def test_blur_is_that_of_a_gaussian(sigma: float) -> None:
    images = pictures(4)
    size = 2 * int(np.ceil(3 * sigma)) + 1
    for image, out in zip(images, degraded(images, blur={"sigma": [sigma, sigma]}), strict=True):
        expected = cv2.GaussianBlur(image.astype(float), (size, size), sigma, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(out, expected, atol=0.8)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.75, 0.95])
def test_resize_averages_down_and_interpolates_up(scale: float) -> None:
    images = pictures(4)
    small = (round(SIZE[1] * scale), round(SIZE[0] * scale))
    for image, out in zip(images, degraded(images, resize={"scale": [scale, scale]}), strict=True):
        down = cv2.resize(image.astype(np.float64), small, interpolation=cv2.INTER_AREA)
        up = cv2.resize(down, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(out, up, atol=1)
    np.testing.assert_array_equal(degraded(images, resize={"scale": [1, 1]}), images)


def test_light_multiplies_and_adds() -> None:
    ramp = np.broadcast_to(np.arange(60, 170, dtype=np.uint8)[None, :, None], (8, 110, 3))
    out = degraded(np.repeat(ramp[None], 200, 0), light={"brightness": 0.1, "contrast": 0.3}).astype(float)
    levels = np.arange(60, 170)
    scales, shifts = np.array([np.polyfit(levels, image[0, :, 0], 1) for image in out]).T
    for image, scale, shift in zip(out, scales, shifts, strict=True):
        expected = np.broadcast_to((scale * levels + shift)[None, :, None], image.shape)
        np.testing.assert_allclose(image, np.clip(expected, 0, 255), atol=0.8)
    assert 0.7 <= scales.min() <= 0.75
    assert 1.25 <= scales.max() <= 1.301
    assert -27 <= shifts.min() <= -20
    assert 20 <= shifts.max() <= 27
    bright = np.full((1, 8, 8, 3), 255, np.uint8)
    assert degraded(bright, light={"brightness": 1, "contrast": 1}).max() <= 255


@pytest.mark.parametrize("deviation", [2.5, 10, 25])
def test_noise_has_the_given_deviation_and_is_independent_between_channels(deviation: float) -> None:
    grey = np.full((60, *SIZE, 3), 128, np.uint8)
    noise = degraded(grey, noise={"deviation": [deviation, deviation]}).astype(float) - 128
    assert noise.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.02)
    assert abs(noise.mean()) < 0.02 * deviation + 0.02
    pixels = noise.reshape(-1, 3)
    assert np.abs(np.corrcoef(pixels.T) - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


def test_deviations_are_drawn_from_their_range_and_widest_crops_have_noise() -> None:
    grey = np.full((200, 8, 100, 3), 128, np.uint8)
    deviations = degraded(grey, noise={"deviation": [5, 20]}).reshape(200, -1).astype(float).std(1)
    assert 4.7 <= deviations.min() <= 6
    assert 19 <= deviations.max() <= 21.5
    wide = np.full((4, 8, 512, 3), 128, np.uint8)
    assert degraded(wide, noise={"deviation": [10, 10]}).astype(float).std() == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("size", [(8, 8), SIZE, (9, 9)])
def test_chroma_keeps_luma_and_halves_colour(size: tuple[int, int]) -> None:
    images = pictures(10, size)
    images = images // 3 + 85  # far from black and white: nothing is cut off
    out = degraded(images, chroma={})
    weights = np.array([77, 150, 29]) / 256
    np.testing.assert_allclose(out @ weights, images @ weights, atol=0.6)
    color = out - (out @ weights)[..., None]
    before = images - (images @ weights)[..., None]
    for y in range(0, size[0], 2):
        for x in range(0, size[1], 2):
            block, was = color[:, y : y + 2, x : x + 2], before[:, y : y + 2, x : x + 2]
            assert np.ptp(block, (1, 2)).max() <= 1.5, "one colour a block of 2 by 2"
            np.testing.assert_allclose(block.mean((1, 2)), was.mean((1, 2)), atol=1)


def test_a_jpeg_is_that_of_opencv_at_its_quality() -> None:
    images, settings = pictures(6), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    out = degraded(images, jpeg={"quality": [35, 35]})
    for image, shown in zip(images, out, strict=True):
        bgr = np.ascontiguousarray(image[..., ::-1])
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 35, *settings])[1]
        np.testing.assert_array_equal(shown, cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    samples = np.zeros(400, tables.SAMPLE)
    table = build_degradation_table(validate(Augment, {"jpeg": {"quality": [40, 44]}}, ""), SIZE)
    samples["index"], qualities = np.arange(400), np.zeros(400, np.int64)
    degrade(samples, pictures(400, (8, 8)), np.uint64(7), table, qualities)
    counts = np.bincount(qualities, minlength=45)
    assert counts[:40].sum() == 0
    assert (counts[40:] > 45).all(), "every quality from the first to the last"
