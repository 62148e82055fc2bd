from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import flat_game, load

from textgen.assets.catalogue import load_catalogue
from textgen.assets.fonts import Face, load_faces
from textgen.assets.holdout import choose_held_out_faces
from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.render.renderer import SPLITS, TEST_BACKGROUNDS, TEST_FONTS, Renderer
from textgen.schema.game import Game
from textgen.schema.split import Holdout

DIGITS = frozenset("0123456789")


def renderer(holdout: Holdout | None, seed: int = 0) -> Renderer:
    """sot_time on canvases of its pictures and of two procedural kinds."""
    return Renderer(Game.from_config(load("game", "sot_time")), seed, None, holdout)


def shown(drawn: Renderer, split: str, what: str) -> set[Any]:
    samples = drawn.render(split, range(400)).samples
    if what == "canvas":
        return set(zip(samples["source"].tolist(), samples["canvas"].tolist(), strict=True))
    return {drawn.faces[face].path.parent.name for face in samples["face"][samples["length"] > 0]}


def families_of(faces: list[Face], held: frozenset[int]) -> set[str]:
    return {faces[number].path.parent.name for number in held}


def test_without_a_holdout_there_are_three_splits_and_an_empty_one_changes_nothing() -> None:
    plain, empty = renderer(None), renderer(Holdout())
    assert plain.splits == empty.splits == SPLITS
    np.testing.assert_array_equal(plain.render("val", range(9)).images, empty.render("val", range(9)).images)


def test_held_out_families_are_shown_by_their_own_split_alone() -> None:
    drawn = renderer(Holdout(fonts=0.4))
    assert drawn.splits == (*SPLITS, TEST_FONTS)
    seen, unseen = [shown(drawn, split, "face") for split in SPLITS], shown(drawn, TEST_FONTS, "face")
    everything = {face.path.parent.name for face in drawn.faces}
    assert seen[0] == seen[1] == seen[2]
    assert not seen[0] & unseen
    assert seen[0] | unseen == everything
    assert len(unseen) == round(0.4 * len(everything))
    assert shown(drawn, TEST_FONTS, "canvas") & shown(drawn, "train", "canvas"), "on the backgrounds of the others"


def test_held_out_canvases_are_shown_by_their_own_split_alone() -> None:
    drawn = renderer(Holdout(backgrounds=0.25))
    assert drawn.splits == (*SPLITS, TEST_BACKGROUNDS)
    seen = set().union(*(shown(drawn, split, "canvas") for split in SPLITS))
    unseen = shown(drawn, TEST_BACKGROUNDS, "canvas")
    assert not seen & unseen
    for number, source in enumerate(drawn.backgrounds.sources):
        count = len({canvas for where, canvas in unseen if where == number})
        assert 0 < count <= max(1, round(0.25 * len(source.canvases))), "of every source"
    assert shown(drawn, TEST_BACKGROUNDS, "face") == shown(drawn, "train", "face")


def test_both_can_be_held_out_and_the_other_splits_are_as_with_one() -> None:
    both = renderer(Holdout(fonts=0.4, backgrounds=0.25))
    assert both.splits == (*SPLITS, TEST_FONTS, TEST_BACKGROUNDS)
    assert not shown(both, TEST_BACKGROUNDS, "face") & shown(both, TEST_FONTS, "face")
    assert not shown(both, TEST_BACKGROUNDS, "canvas") & shown(both, TEST_FONTS, "canvas")


def test_what_is_held_out_follows_from_the_seed_and_not_from_order_or_folder(tmp_path: Path) -> None:
    fonts = ["oswald", "teko", "khand", "kalam", "rajdhani", "antonio", "cinzel", "spectral"]
    one, two = (load_faces(order, DIGITS)[0] for order in (fonts, fonts[::-1]))
    chosen = {seed: families_of(one, choose_held_out_faces(one, Holdout(fonts=0.5), seed)) for seed in range(6)}
    assert len({frozenset(families) for families in chosen.values()}) > 3
    for seed, families in chosen.items():
        assert len(families) == 4
        assert families_of(two, choose_held_out_faces(two, Holdout(fonts=0.5), seed)) == families
    for name in fonts:
        (tmp_path / name).mkdir()
        for path in load_catalogue("fonts")[name].paths:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    own, _ = load_faces([f"{tmp_path}/"], DIGITS)
    assert families_of(own, choose_held_out_faces(own, Holdout(fonts=0.5), 0)) == chosen[0]


def test_all_weights_and_instances_of_a_family_go_together() -> None:
    faces, _ = load_faces(
        ["oswald", "oswald-variable", "roboto-condensed", "teko-variable", "teko"], DIGITS, {"wght": (300, 600)}
    )
    names = [face.path.parent.name.removesuffix("-variable") for face in faces]
    for seed in range(8):
        held_out = choose_held_out_faces(faces, Holdout(fonts=0.3), seed)
        held = {names[number] for number in held_out}
        rest = {name for number, name in enumerate(names) if number not in held_out}
        assert len(held) == 1
        assert not held & rest


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_at_least_one_is_held_out_and_one_left(share: float) -> None:
    faces, _ = load_faces(["oswald", "teko"], DIGITS)
    assert len(families_of(faces, choose_held_out_faces(faces, Holdout(fonts=share), 0))) == 1
    drawn = renderer(Holdout(backgrounds=share))
    assert shown(drawn, "train", "canvas")
    assert shown(drawn, TEST_BACKGROUNDS, "canvas")
    assert not shown(drawn, "train", "canvas") & shown(drawn, TEST_BACKGROUNDS, "canvas")


@pytest.mark.parametrize(
    ("holdout", "words"), [({"fonts": 0.5}, "one font family"), ({"backgrounds": 0.5}, "two pictures")]
)
def test_assets_that_cannot_be_split_are_refused(tmp_path: Path, holdout: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Renderer(Game.from_config(flat_game(tmp_path)), 0, None, Holdout(**holdout))
    assert "\n" not in caught.value.summary
    assert f"split.holdout_{next(iter(holdout))}" in caught.value.summary


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan"), "half"])
def test_a_share_is_a_fraction_below_one(share: Any) -> None:
    for name in ("fonts", "backgrounds"):
        with pytest.raises(UserError) as caught:
            validate(Holdout, {name: share}, "holdout")
        assert caught.value.summary.startswith(f"holdout.{name}: ")
