"""Every reader sees a picture as a viewer shows it, whatever its format, depth, palette, opacity and orientation.

One table of files, made with Pillow, OpenCV and by hand, is read by each of the readers.
"""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import textgen
from textgen.assets.backgrounds import read_image
from textgen.assets.icons import _read_icon
from textgen.common import pictures
from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.new.crop_folder import read_crop_folder

SIZE = (12, 20)
GREY = 0x80  # each channel of `pictures.GROUND`

# ---- The readers. Each returns RGB (H, W, 3), or RGBA (H, W, 4) for icons.


def read_as_import(path: Path) -> U8:
    _, size = pictures.inspect_picture(path)
    pixels, resized = pictures.read_pixels(path, size)
    assert not resized
    return pixels


def read_as_like(path: Path) -> U8:
    return read_crop_folder(path.parent).images[0]


def read_as_icon(path: Path) -> U8:
    """An icon, its colours no longer multiplied by alpha."""
    pixels = _read_icon(path)
    alpha = pixels[..., 3:]
    colors = np.divide(255 * pixels[..., :3], alpha, out=np.zeros_like(pixels[..., :3]), where=alpha > 0)
    return np.rint(np.concatenate([colors, alpha], 2)).astype(np.uint8)


RGB_READERS: dict[str, Callable[[Path], U8]] = {
    "read_picture": textgen.read_picture,
    "import": read_as_import,
    "background": read_image,
    "--like": read_as_like,
}

# ---- The files. Each writes one picture of `SIZE` and returns RGBA (H, W, 4): what a viewer shows.

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (*SIZE, 3), np.uint8)
ALPHA = rng.choice(np.array([0, 100, 255], np.uint8), SIZE)
GRAY16 = rng.integers(0, 65536, SIZE, np.uint16)
FLAT = np.full(SIZE, 200, np.uint8)
OPAQUE = np.full(SIZE, 255, np.uint8)

Write = Callable[[Path], tuple[np.ndarray, np.ndarray]]


def saved(name: str, image: Image.Image, **options: Any) -> Write:
    """Save with Pillow; 8 bits without alpha are what its own conversion gives, JPEG's loss included."""

    def write(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image.save(path / name, **options)
        with Image.open(path / name) as again:
            return np.asarray(again.convert("RGBA"))[..., :3], np.asarray(again.convert("RGBA"))[..., 3]

    return write


def deep(write: Callable[[Path], object], colors: np.ndarray, alpha: np.ndarray = OPAQUE) -> Write:
    def writer(path: Path) -> tuple[np.ndarray, np.ndarray]:
        write(path)
        colors_seen = np.stack([colors] * 3, -1) if colors.ndim == 2 else colors
        return (colors_seen >> 8).astype(np.uint8), alpha

    return writer


def shown(write: Callable[[Path], object], colors: np.ndarray, alpha: np.ndarray = OPAQUE) -> Write:
    def writer(path: Path) -> tuple[np.ndarray, np.ndarray]:
        write(path)
        return (np.stack([colors] * 3, -1) if colors.ndim == 2 else colors), alpha

    return writer


def png(samples: np.ndarray, bits: int, color_type: int, *chunks: tuple[bytes, bytes], behind: bytes = b"") -> bytes:
    """A PNG of `samples` (H, W, channels), with chunks before the pixels, and perhaps EXIF behind them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = samples.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        places = [samples.reshape(height, -1) >> bit & 1 for bit in reversed(range(bits))]
        rows = [np.packbits(row).tobytes() for row in np.stack(places, -1).reshape(height, -1)]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    parts += [(b"eXIf", behind)] if behind else []
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def packed(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(content)


def by_opencv(name: str, pixels: np.ndarray) -> Callable[[Path], object]:
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1] if pixels.ndim == 3 else 2]
    return lambda path: cv2.imwrite(str(path / name), pixels[..., order] if pixels.ndim == 3 else pixels)


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def turned(name: str, orientation: int, **options: Any) -> Write:
    """A picture that is RGB when seen, stored turned. The loss of JPEG is that of the stored picture."""
    undo = {**pictures.UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation)
    smooth = np.repeat(np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None, :, None], SIZE[0], 0) * np.ones(3, np.uint8)
    smooth[: SIZE[0] // 3] //= 2
    stored = Image.fromarray(smooth) if undo is None else Image.fromarray(smooth).transpose(undo)

    def write(path: Path) -> tuple[np.ndarray, np.ndarray]:
        stored.save(path / name, exif=exif(orientation), **options)
        return smooth, OPAQUE

    return write


WEBP = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F")  # all modes are converted
BAD_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0"
RGBA = np.dstack([RGB, ALPHA])
ONE_BIT = RGB[..., 0] > 127
PALETTE = Image.fromarray(RGB).quantize(16)
LA16 = np.dstack([GRAY16, ALPHA.astype(np.uint16) * 257])
RGB16 = rng.integers(0, 65536, (*SIZE, 3), np.uint16)
LEVELS2, LEVELS4 = rng.integers(0, 4, SIZE, np.uint8), rng.integers(0, 16, SIZE, np.uint8)
KEY16 = struct.pack(">H", int(GRAY16[3, 3]))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1"/></x:xmpmeta>'

FILES: dict[str, Write] = {
    **{
        f"{mode} as {suffix}": saved(f"x.{suffix}", Image.fromarray(RGB).convert(mode), **options)
        for suffix, modes, options in (
            ("png", ("1", "L", "LA", "P", "RGB", "RGBA"), {}),
            ("bmp", ("1", "L", "P", "RGB", "RGBA"), {}),
            ("jpg", ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr"), {}),
            (
                "webp",
                ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"),
                {"lossless": True},
            ),
        )
        for mode in modes
    },
    "progressive JPEG": saved("x.jpg", Image.fromarray(RGB), progressive=True),
    "two pictures in a JPEG": saved(
        "x.jpg", Image.fromarray(RGB), format="MPO", save_all=True, append_images=[Image.new("RGB", SIZE[::-1])]
    ),
    "16-bit grey by Pillow": deep(lambda path: Image.fromarray(GRAY16).save(path / "x.png"), GRAY16),
    "16-bit grey by OpenCV": deep(by_opencv("x.png", GRAY16), GRAY16),
    "16-bit RGB": deep(by_opencv("x.png", RGB16), RGB16),
    "16-bit RGBA": deep(by_opencv("x.png", np.dstack([RGB16, LA16[..., 1:]])), RGB16, ALPHA),
    "16-bit grey and alpha": deep(packed("x.png", png(LA16, 16, 4)), GRAY16, ALPHA),
    "16-bit grey, one of it transparent": deep(
        packed("x.png", png(GRAY16, 16, 0, (b"tRNS", KEY16))), GRAY16, np.where(GRAY16[3, 3] == GRAY16, 0, OPAQUE)
    ),
    "2-bit grey, one of it transparent": shown(
        packed("x.png", png(LEVELS2, 2, 0, (b"tRNS", b"\0\2"))), LEVELS2 * 85, np.where(LEVELS2 == 2, 0, OPAQUE)
    ),
    "4-bit grey, one of it transparent": shown(
        packed("x.png", png(LEVELS4, 4, 0, (b"tRNS", b"\0\7"))), LEVELS4 * 17, np.where(LEVELS4 == 7, 0, OPAQUE)
    ),
    "1-bit grey, white transparent": shown(
        packed("x.png", png(ONE_BIT.astype(np.uint8), 1, 0, (b"tRNS", b"\0\1"))),
        ONE_BIT.astype(np.uint8) * 255,
        np.where(ONE_BIT, 0, OPAQUE),
    ),
    "RGB, one colour transparent": shown(
        lambda path: Image.fromarray(RGB).save(path / "x.png", transparency=tuple(RGB[2, 2].tolist())),
        RGB,
        np.where((RGB[2, 2] == RGB).all(-1), 0, OPAQUE),
    ),
    "palette, one entry transparent": saved("x.png", PALETTE, transparency=3),
    "palette with opacities": saved("x.png", PALETTE, transparency=bytes(range(0, 256, 16))),
    "alpha in PNG": shown(lambda path: Image.fromarray(RGBA).save(path / "x.png"), RGB, ALPHA),
    "grey and alpha in PNG": shown(
        lambda path: Image.merge("LA", [Image.fromarray(FLAT), Image.fromarray(ALPHA)]).save(path / "x.png"),
        FLAT,
        ALPHA,
    ),
    "alpha in WebP": shown(
        lambda path: Image.fromarray(RGBA).save(path / "x.webp", lossless=True, exact=True), RGB, ALPHA
    ),
    "hidden black under alpha": shown(
        lambda path: Image.fromarray(np.dstack([np.zeros_like(RGB), ALPHA])).save(path / "x.png"),
        np.zeros_like(RGB),
        ALPHA,
    ),
    **{
        f"orientation {number} in {suffix}": turned(f"x.{suffix}", number, **options)
        for number in range(1, 9)
        for suffix, options in (("jpg", {"quality": 100, "subsampling": 0}), ("png", {}), ("webp", {"lossless": True}))
    },
    "orientation behind the pixels": shown(
        packed("x.png", png(np.rot90(RGB), 8, 2, behind=exif(6).removeprefix(b"Exif\0\0"))), RGB
    ),
    "orientation of 16-bit grey and alpha": deep(
        packed("x.png", png(LA16[::-1, ::-1], 16, 4, (b"eXIf", exif(3).removeprefix(b"Exif\0\0")))), GRAY16, ALPHA
    ),
    "damaged EXIF": shown(lambda path: Image.fromarray(RGB).save(path / "x.png", exif=BAD_EXIF), RGB),
    "an orientation that does not exist": shown(
        lambda path: Image.fromarray(RGB).save(path / "x.png", exif=exif(77)), RGB
    ),
    **{
        f"animated {suffix}": shown(
            lambda path, suffix=suffix: Image.fromarray(RGB).save(
                path / f"x.{suffix}", save_all=True, append_images=[Image.new("RGB", SIZE[::-1], "red")], lossless=True
            ),
            RGB,
        )
        for suffix in ("png", "webp")
    },
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.filterwarnings("error")
def test_every_reader_sees_the_same(tmp_path: Path, file: str) -> None:
    colors, alpha = FILES[file](tmp_path)
    (path,) = tmp_path.iterdir()
    opacity = alpha[..., None] / 255
    expected = colors * opacity + GREY * (1 - opacity)
    loss = 3 if file.startswith("orientation") and path.suffix == ".jpg" else 1
    for name, read in RGB_READERS.items():
        seen = read(path)
        assert (seen.dtype, seen.shape) == (np.uint8, (*SIZE, 3)), name
        np.testing.assert_allclose(seen, expected, atol=loss, err_msg=name)
        if (alpha == 255).all() and loss == 1:
            np.testing.assert_array_equal(seen, colors, name)
    if path.suffix == ".png":
        icon = read_as_icon(path)
        np.testing.assert_array_equal(icon[..., 3], alpha)
        np.testing.assert_allclose(icon[alpha > 0, :3], colors[alpha > 0], atol=1)


def test_all_modes_that_pillow_writes_are_in_the_table(tmp_path: Path) -> None:
    """A new version of Pillow may write more."""
    every = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "La", "RGBa", "RGBX")
    every += ("I;16", "I;16L", "I;16B", "I;16N")
    for suffix in ("png", "bmp", "jpg", "webp"):
        for mode in every:
            path = tmp_path / f"{mode.replace(';', '_')}.{suffix}"
            try:
                Image.new(mode, SIZE[::-1]).save(path)
            except (OSError, ValueError):
                path.unlink(missing_ok=True)
                continue
            seen = [read(path) for read in (textgen.read_picture, read_as_import, read_image)]
            assert all(pixels.shape == (*SIZE, 3) for pixels in seen), path
            assert all((pixels == seen[0]).all() for pixels in seen), path
    assert len(list(tmp_path.iterdir())) > 25


def test_black_text_on_a_transparent_ground_stays(tmp_path: Path) -> None:
    letter = np.zeros((*SIZE, 4), np.uint8)
    letter[3:9, 5:15, 3] = 255
    Image.fromarray(letter).save(tmp_path / "x.png")
    for read in RGB_READERS.values():
        assert np.unique(read(tmp_path / "x.png")).tolist() == [0, GREY]


@pytest.mark.parametrize("read", [*RGB_READERS.values(), _read_icon])
@pytest.mark.filterwarnings("error")
def test_sizes_are_bounded_before_decoding(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    start = png(np.zeros((1, 1), np.uint8), 8, 0)
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    whole = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "x.png").write_bytes(start[:8] + whole + start[33:])
    with pytest.raises(UserError, match="9000×9000 pixels, more than") as caught:
        read(tmp_path / "x.png")
    assert str(tmp_path / "x.png") in caught.value.summary


def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Pillow keeps the upper bytes alone, so that other colours than this one would be transparent."""
    (tmp_path / "x.png").write_bytes(png(RGB16, 16, 2, (b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    with pytest.raises(UserError, match=r"x\.png has 16 bits .*: save it with 8 bits") as caught:
        textgen.read_picture(tmp_path / "x.png")
    assert "\n" not in caught.value.summary


def test_a_picture_is_read_in_a_given_size(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    half = textgen.read_picture(str(tmp_path / "x.png"), size=(6, 10))
    np.testing.assert_allclose(half, RGB.reshape(6, 2, 10, 2, 3).mean((1, 3)), atol=1)
    np.testing.assert_array_equal(half, pictures.read_pixels(tmp_path / "x.png", (6, 10))[0])
    np.testing.assert_array_equal(textgen.read_picture(tmp_path / "x.png", size=SIZE), RGB)
    with pytest.raises(UserError, match=r"none\.png cannot be read: No such file"):
        textgen.read_picture(tmp_path / "none.png")


def test_a_sideways_crop_has_the_size_that_is_seen(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.rot90(RGB)).save(stream, "PNG", exif=exif(6))
    (tmp_path / "x.png").write_bytes(stream.getvalue())
    assert pictures.inspect_picture(tmp_path / "x.png")[1] == SIZE
    assert read_crop_folder(tmp_path).size == SIZE


def test_numpy_and_pillow_are_enough_to_read(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    code = (
        "import sys, textgen; textgen.read_picture(sys.argv[1])\n"
        "print({'cv2', 'joblib', 'numba', 'pydantic', 'torch', 'yaml'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
