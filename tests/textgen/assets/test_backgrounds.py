import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import flat_game
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from textgen.assets import backgrounds
from textgen.assets.backgrounds import CANVAS_SIZE, KINDS, MAX_SIDE, Backgrounds, Source, parse_color, read_image
from textgen.assets.catalogue import load_catalogue, resolve_asset
from textgen.common.errors import UserError
from textgen.common.pictures import MAX_PIXELS, SUFFIXES
from textgen.render.renderer import Renderer
from textgen.schema.game import Background, Game

ROOT = Path(__file__).parents[3] / "backgrounds"
PICTURES = load_catalogue("backgrounds")
SIZE = (22, 30)


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that claims a size, with `data` for pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def opened(size: tuple[int, int] = SIZE, seed: int = 0, **settings: Any) -> Source:
    """The one source of such a background."""
    return Backgrounds((Background(**settings),), size, seed).sources[0]


def patches(folder: Path, count: int, *sources: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Crops (n, H, W, 3) without text on these backgrounds, and how each was drawn."""
    game = Game.from_config({**flat_game(folder / "unused"), "backgrounds": sources})
    crops = Renderer(game).render("train", range(10, 11 * count, 11))
    assert crops.texts == [""] * count
    return crops.images, crops.samples


def refusal(path: Path) -> str:
    """The error for a background file; it names the file."""
    with pytest.raises(UserError, match=re.escape(path.name)) as caught:
        opened(source=str(path))
    assert "\n" not in caught.value.summary
    return caught.value.summary


def test_entries_of_the_catalogue_have_files_authors_and_licences() -> None:
    assert len(PICTURES) >= 10
    for picture in PICTURES.values():
        assert picture.paths
        assert all(path.is_file() for path in picture.paths), picture.name
        assert (ROOT / picture.metadata["licence_file"]).is_file(), picture.name
        for key in ("title", "author", "licence", "source", "changes"):
            assert str(picture.metadata[key]).strip(), f"{picture.name} does not say its {key}"
        assert picture.metadata["licence"] == (ROOT / picture.metadata["licence_file"]).stem


def test_every_picture_and_licence_is_in_the_catalogue() -> None:
    catalogued = {path for picture in PICTURES.values() for path in picture.paths}
    assert {p for p in ROOT.rglob("*") if p.suffix in SUFFIXES} == catalogued
    assert {p.name for p in (ROOT / "licences").iterdir()} == {
        Path(picture.metadata["licence_file"]).name for picture in PICTURES.values()
    }


def test_no_name_or_tag_hides_a_procedural_kind() -> None:
    """Kinds are looked up first, so a picture of the same name could not be used."""
    assert not KINDS.keys() & PICTURES.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_catalogue_can_be_read(name: str) -> None:
    for path in PICTURES[name].paths:
        pixels = read_image(path, (64, 64))
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.std() > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [CANVAS_SIZE, (128, 512), (511, 192)])
def test_a_canvas_of_a_kind_depends_on_its_generator_alone(kind: str, size: tuple[int, int]) -> None:
    generate = KINDS[kind]
    one, again, other = (generate(np.random.default_rng(seed), *size) for seed in (1, 1, 2))
    assert one.dtype == np.uint8
    assert one.shape == (*size, 3)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("kind", KINDS)
def test_canvases_differ_by_seed_and_among_themselves(kind: str) -> None:
    canvases = [c.tobytes() for seed in (0, 1) for c in opened(source=kind, seed=seed).canvases]
    assert len(set(canvases)) == len(canvases)


def test_a_canvas_is_at_least_as_large_as_a_crop_at_every_zoom() -> None:
    for zoom in ((1, 1), (8, 32)):
        made = Backgrounds((Background(source="gradient", zoom=zoom),), (256, 400), 0)
        assert all(c.shape[0] >= 256 and c.shape[1] >= 400 for c in made.sources[0].canvases)
        _, heights, widths = made.build_table([frozenset()]).views.T
        assert heights.min() >= 256
        assert widths.min() >= 400


@pytest.mark.parametrize("source", [*KINDS, *sorted({tag for p in PICTURES.values() for tag in p.tags} - {*KINDS})])
def test_patches_of_a_source_differ(source: str, tmp_path: Path) -> None:
    images, _ = patches(tmp_path, 12, {"source": source, "light": [0.5, 1]})
    assert len({image.tobytes() for image in images}) == 12
    assert images.std() > 5


def test_a_patch_is_a_window_of_its_canvas_or_of_its_mirror_image(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    canvases = [read_image(folder / name) for name in ("a.png", "b.png")]
    flat = {"zoom": [1, 1], "light": [1, 1]}
    images, samples = patches(tmp_path, 60, {"source": str(folder / "a.png"), **flat}, {"source": f"{folder}/", **flat})
    places = []
    for image, sample in zip(images, samples, strict=True):
        canvas = canvases[sample["canvas"]]
        for mirrored, shown in enumerate((image, image[:, ::-1])):
            found = (sliding_window_view(canvas, shown.shape) == shown).all((3, 4, 5))
            places += [(mirrored, *place[:2]) for place in np.argwhere(found).tolist()]
    assert len(places) == 60, "each is found once"
    assert {sample["source"] for sample in samples} == {0, 1}
    mirrored, tops, lefts = np.array(places).T
    assert 15 <= mirrored.sum() <= 45
    for drawn, most in ((tops, 18), (lefts, 20)):
        assert 0 <= drawn.min() <= 2
        assert most - 2 <= drawn.max() <= most


def test_zoom_is_source_pixels_a_crop_pixel(tmp_path: Path) -> None:
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, np.arange(240) % 24 < 12] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    for zoom, period in ((0.5, 48), (1, 24), (2, 12), (4, 6)):
        images, _ = patches(
            tmp_path, 4, {"source": str(tmp_path / "stripes.png"), "zoom": [zoom, zoom], "light": [1, 1]}
        )
        edges = [np.flatnonzero(np.diff((image[0, :, 0] > 127).astype(int))) for image in images]
        assert {int(step) for edge in edges for step in np.diff(edge)} <= {period // 2}, zoom
        assert all(len(edge) >= 30 // period for edge in edges)


def test_light_multiplies_and_tint_is_blended_over(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    Image.new("RGB", (64, 64), (100, 60, 20)).save(path)

    def patch(**settings: Any) -> list[int]:
        images, _ = patches(tmp_path, 2, {"source": str(path), **settings})
        assert not np.ptp(images, (0, 1, 2)).any(), "a flat picture gives a flat patch"
        return [int(level) for level in images[0, 0, 0]]

    assert patch(light=(1, 1)) == [100, 60, 20]
    assert patch(light=(0.5, 0.5)) == [50, 30, 10]
    assert patch(light=(3, 3)) == [255, 180, 60]
    assert patch(light=(1, 1), tint=("#ff8000",), tint_opacity=(1, 1)) == [255, 128, 0]
    assert patch(light=(1, 1), tint=("#0000f0",), tint_opacity=(0.5, 0.5)) == [50, 30, 130]
    assert patch(light=(3, 3), tint=("#000000",), tint_opacity=(0.5, 0.5)) == [128, 90, 30], "light first, then clipped"


def test_light_and_tints_are_drawn_from_their_ranges(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    Image.new("RGB", (64, 64), (100, 100, 100)).save(path)
    lit, _ = patches(tmp_path, 200, {"source": str(path), "light": [0.5, 1.5]})
    assert 50 <= lit.min() <= 55
    assert 145 <= lit.max() <= 150
    assert lit.mean() == pytest.approx(100, abs=8)
    tinted, _ = patches(
        tmp_path, 200, {"source": str(path), "light": [1, 1], "tint": ["#ff0000", "#0000ff"], "tint_opacity": [1, 1]}
    )
    assert (tinted[:, 0, 0, 0] == 255).mean() == pytest.approx(0.5, abs=0.15)


def test_sources_are_drawn_by_their_weights(tmp_path: Path) -> None:
    for color in ("black", "white"):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{color}.png")
    sources = [
        {"source": str(tmp_path / f"{color}.png"), "weight": weight, "light": [1, 1]}
        for color, weight in (("black", 1), ("white", 3))
    ]
    images, samples = patches(tmp_path, 1000, *sources)
    white = images.mean((1, 2, 3)) > 128
    np.testing.assert_array_equal(white, samples["source"] == 1)
    assert white.mean() == pytest.approx(0.75, abs=0.06)  # 4 standard deviations


def test_a_table_is_without_held_out_canvases_or_has_only_these() -> None:
    made = Backgrounds((Background(source="noise"), Background(source="panel", weight=3)), SIZE, 0)
    held = [frozenset({1, 5}), frozenset(range(48))]
    rest, only = made.build_table(held), made.build_table(held, held_out_only=True)
    assert rest.usable_sources.tolist() == [0], "a source without canvases is not drawn"
    assert set(rest.usable_canvases.tolist()) == set(range(48)) - {1, 5}
    assert only.usable_sources.tolist() == [0, 1]
    assert only.usable_canvases.tolist() == [1, 5, *range(48)]
    np.testing.assert_allclose(only.source_bounds, [0.25, 1])
    assert only.canvas_starts.tolist() == [0, 2, 50]


def test_the_digest_and_the_names_depend_on_the_canvases() -> None:
    made = [Backgrounds((Background(source="noise"),), SIZE, seed) for seed in (0, 0, 1)]
    assert made[0].digest == made[1].digest != made[2].digest
    assert made[0].canvas_names() == [[f"noise {number}" for number in range(48)]]
    picture = next(iter(PICTURES.values()))
    shown = Backgrounds((Background(source=picture.name),), SIZE, 0).canvas_names()
    assert shown == [[path.name for path in picture.paths]]


def test_many_pictures_are_scaled_down_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        noise(200, 300).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(backgrounds, "MAX_BYTES", 200_000)
    made = Backgrounds((Background(source=f"{tmp_path}/", zoom=(1, 1)),), SIZE, 0)
    assert sum(canvas.size for canvas in made.sources[0].canvases) <= 200_000
    assert all(canvas.shape[1] == pytest.approx(canvas.shape[0] * 1.5, abs=2) for canvas in made.sources[0].canvases)


def test_a_folder_of_the_user_is_read_recursively_in_order(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for name in ("b.png", "a.JPG", "deeper/c.webp", "d.bmp"):
        noise(40, 50).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = opened(source=f"{tmp_path}/")
    assert [p.name for p in source.paths] == ["a.JPG", "b.png", "d.bmp", "c.webp"]
    assert [c.shape for c in source.canvases] == [(40, 50, 3)] * 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "YCbCr"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.new(mode, (40, 30)).save(path)
    assert read_image(path).shape == (30, 40, 3)
    assert read_image(path).dtype == np.uint8


def test_a_large_picture_is_scaled_down_but_not_below_the_crop(tmp_path: Path) -> None:
    noise(100, 1500).save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png").shape == (round(100 * MAX_SIDE / 1500), MAX_SIDE, 3)
    height, width, _ = read_image(tmp_path / "wide.png", (50, 60)).shape
    assert (height, width) == (50, 750)


@pytest.mark.parametrize("content", [b"", b"this is a text, no picture\n", b"\x89PNG\r\n\x1a\n", bytes(1000)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert "picture" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused_by_name(tmp_path: Path, suffix: str, part: float) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    noise(60, 80).save(whole)
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    assert "picture" in refusal(path)


@pytest.mark.parametrize("side", [10_000, 60_000, 2**31 - 1])
def test_a_header_that_claims_too_many_pixels_is_refused_without_a_warning(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, bytes(1000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of Pillow would be a second line on stderr
        assert "scale it down" in refusal(path)


def test_a_small_file_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "black.png"
    Image.new("1", (8000, 8000)).save(path)
    assert MAX_PIXELS < 8000 * 8000
    assert path.stat().st_size < 100_000
    assert "8000×8000" in refusal(path)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (21, 30), (22, 29), (1, 5000), (5000, 1)])
def test_a_picture_smaller_than_the_crop_is_refused_with_both_sizes(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "small.png"
    noise(height, width).save(path)
    summary = refusal(path)
    assert f"{height}×{width}" in summary
    assert "22×30" in summary


def test_a_picture_may_have_the_size_of_a_crop(tmp_path: Path) -> None:
    noise(*SIZE).save(tmp_path / "just.png")
    images, _ = patches(tmp_path, 20, {"source": str(tmp_path / "just.png"), "zoom": [0.5, 4]})
    assert len({image.tobytes() for image in images}) > 10


def test_a_missing_source_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean noise\?"):
        opened(source="niose")
    with pytest.raises(UserError, match=r"no file or folder .*gone\.png"):
        opened(source=str(tmp_path / "gone.png"))
    with pytest.raises(UserError, match="holds no file"):
        resolve_asset("backgrounds", f"{tmp_path}/", SUFFIXES)


def test_a_color_is_parsed_in_both_cases() -> None:
    assert parse_color("#0aB0fF") == parse_color("#0Ab0Ff") == (10, 176, 255)
