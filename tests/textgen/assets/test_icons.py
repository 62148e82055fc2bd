from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import flat_game
from PIL import Image

from textgen.assets.icons import KINDS, MAX_ICONS, MAX_PIXELS, load_icons
from textgen.common.errors import UserError
from textgen.render.renderer import Renderer
from textgen.schema.game import Game


def made(folder: Path, crop_height: int = 22, **icon: Any) -> Any:
    """The icons for texts 8 to 14 pixels high."""
    return load_icons(Game.from_config(flat_game(folder / "flat", height=[8, 14], icon=icon)).text, crop_height)


def pixels(table: np.ndarray, planes: np.ndarray, number: int, level: int) -> np.ndarray:
    """An icon as (h, w, 4)."""
    offset, h, w = table[number, level]
    return planes[offset : offset + 4 * h * w].reshape(4, h, w).transpose(1, 2, 0)


def refusal(folder: Path, **icon: Any) -> str:
    with pytest.raises(UserError) as caught:
        made(folder, **icon)
    assert "\n" not in caught.value.summary
    return caught.value.summary


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_kind_is_opaque_inside_and_clear_outside_at_every_height(tmp_path: Path, kind: str) -> None:
    table, planes, _, paths = made(tmp_path, source=[kind])
    assert not paths
    assert len(table) == 1
    for level in range(table.shape[1]):
        icon_pixels = pixels(table, planes, 0, level)
        assert icon_pixels.shape[0] == icon_pixels.shape[1], "they are square"
        assert (icon_pixels[..., :3] <= icon_pixels[..., 3:]).all(), "colours are multiplied by alpha"
        corners = icon_pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3]
        assert corners.max() < 200
        assert icon_pixels[..., 3].max() > 200
        assert 0.2 < icon_pixels[..., 3].mean() / 255 < 0.95


@pytest.mark.parametrize("wanted", [(0.9, 1.4), (1, 1), (2, 2)])
def test_heights_cover_those_that_a_text_can_need(tmp_path: Path, wanted: tuple[float, float]) -> None:
    table, _, _, _ = made(tmp_path, 60, source=["coin"], height=list(wanted))
    heights = table[0, :, 1]
    assert (np.diff(heights) > 0).all()
    assert heights[0] <= wanted[0] * 8
    assert heights[-1] >= wanted[1] * 14
    assert (np.diff(heights) <= np.maximum(1, 0.2 * heights[:-1])).all(), "and none is far from the next"
    assert made(tmp_path, 10, source=["coin"], height=[8, 8])[0][..., 1].max() <= 20, "not beyond the crop"


def test_a_folder_of_pngs_is_read_with_its_alpha_and_shape(tmp_path: Path) -> None:
    (tmp_path / "own" / "deeper").mkdir(parents=True)
    Image.new("RGBA", (40, 20), (200, 100, 50, 128)).save(tmp_path / "own" / "b.png")
    Image.new("RGB", (10, 30), (9, 8, 7)).save(tmp_path / "own" / "deeper" / "c.PNG")
    Image.new("LA", (20, 20), (100, 0)).save(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "notes.txt").write_text("no icon")
    table, planes, _, paths = made(tmp_path, source=[f"{tmp_path}/own/", "heart"])
    assert [path.name for path in paths] == ["a.png", "b.png", "c.PNG"]
    assert len(table) == 4
    for level, (_, h, w) in enumerate(table[1].tolist()):
        assert w == pytest.approx(2 * h, abs=1)
        half = np.array([200, 100, 50, 255]) * 128 / 255
        np.testing.assert_allclose(pixels(table, planes, 1, level), np.broadcast_to(half, (h, w, 4)), atol=1)
    assert not pixels(table, planes, 0, 0).any()
    np.testing.assert_array_equal(pixels(table, planes, 2, 3)[0, 0], [9, 8, 7, 255])


def test_icon_files_are_among_the_assets(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), "red").save(tmp_path / "one.png")
    game = flat_game(tmp_path / "flat", icon={"source": [str(tmp_path / "one.png"), "coin"]})
    assert tmp_path / "one.png" in Renderer(Game.from_config(game)).assets


def test_a_game_without_icons_has_none(tmp_path: Path) -> None:
    _, planes, _, paths = load_icons(Game.from_config(flat_game(tmp_path)).text, 22)
    assert planes.size == 1
    assert not paths


def test_a_file_that_is_no_icon_is_refused_by_name(tmp_path: Path) -> None:
    assert "coin, clock, heart, star" in refusal(tmp_path, source=["cion"])
    assert "nowhere" in refusal(tmp_path, source=[f"{tmp_path}/nowhere/"])
    (tmp_path / "empty").mkdir()
    assert "holds no file" in refusal(tmp_path, source=[f"{tmp_path}/empty/"])
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 4), np.uint8)).save(whole)
    for name, content in (("text.png", b"no picture"), ("cut.png", whole.read_bytes()[:900]), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        assert f"icon {tmp_path / name} " in refusal(tmp_path, source=[str(tmp_path / name)])


def test_too_many_icons_and_too_many_pixels_are_refused(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    assert "scale it down" in refusal(tmp_path, source=[str(tmp_path / "large.png")])
    assert "give fewer" in refusal(tmp_path, source=["coin"] * (MAX_ICONS + 1))
