"""Round trips and identities of the fold arithmetic."""

from math import floor, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.folding.arithmetic import fold, folded_width, roll_stacks, unfold, whole_stacks
from train.folding.slots import assemble_slots, extract_slot
from train.models.notation import build, initialise, parse

FOLDS = (1, 2, 3, 4)
POOL = "3x3 strides 2,1,2"


@given(f=st.integers(1, 6), b=st.integers(0, 5), c=st.integers(1, 4), h=st.integers(1, 5), w=st.integers(1, 5))
def test_fold_keeps_every_image_whole_and_in_order(f: int, b: int, c: int, h: int, w: int) -> None:
    images = torch.arange(b * f * c * h * w).reshape(b * f, c, h, w)
    stacks = fold(images, f)
    assert stacks.shape == (b, f * c, h, w)
    for stack in range(b):
        for slot in range(f):
            assert torch.equal(stacks[stack, slot * c : (slot + 1) * c], images[stack * f + slot])


@given(f=st.integers(1, 6), b=st.integers(1, 5), k=st.integers(1, 7))
def test_unfold_gives_slot_j_of_a_stack_to_its_image_j(f: int, b: int, k: int) -> None:
    logits = torch.arange(b * f * k).reshape(b, f * k)
    rows = unfold(logits, f)
    assert all(torch.equal(rows[s * f + j], logits[s, j * k : (j + 1) * k]) for s in range(b) for j in range(f))


def test_fold_of_channels_last_images_is_the_same() -> None:
    images = torch.rand(8, 3, 5, 7)
    assert torch.equal(fold(images.to(memory_format=torch.channels_last), 4), fold(images, 4))


def test_what_does_not_divide_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="batch of 10 images is not divisible by fold=4"):
        fold(torch.zeros(10, 3, 2, 2), 4)
    with pytest.raises(ValueError, match="10 logits are not divisible by fold=4"):
        unfold(torch.zeros(1, 10), 4)
    with pytest.raises(ValueError, match="batch=3 is smaller than fold=4"):
        whole_stacks(3, 4)


@given(c=st.integers(1, 4096), f=st.integers(1, 64))
def test_widths_are_floor_of_c_root_f(c: int, f: int) -> None:
    assert folded_width(c, f) ** 2 <= c * c * f < (folded_width(c, f) + 1) ** 2


def test_widths_of_the_paper() -> None:
    assert [folded_width(32, f) for f in FOLDS] == [32, 45, 55, 64] == [floor(32 * sqrt(f)) for f in FOLDS]
    assert folded_width(64, 2) == 90  # §H
    assert [whole_stacks(1024, f) for f in FOLDS] == [1024, 1024, 1023, 1024]


@pytest.mark.parametrize("f", FOLDS)
def test_a_folded_network_takes_f_times_the_channels_and_gives_f_rows_of_logits(f: int) -> None:
    net = build(parse("C32 M B M C8 M F64 F", POOL), size=(22, 52), classes=11, fold=f)
    convs = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    assert convs[0].in_channels == 3 * f
    assert [layer.out_channels for layer in convs] == [folded_width(32, f)] * 4 + [folded_width(8, f)]
    assert [layer.out_features for layer in linears] == [folded_width(64, f), 11 * f]
    assert unfold(net(fold(torch.zeros(4 * f, 3, 22, 52), f)), f).shape == (4 * f, 11)


@pytest.mark.parametrize("arch", ["C32 M B M C8 M F", "C16 M F24 F"])
@pytest.mark.parametrize("f", [2, 3, 4])
def test_assembled_slots_classify_each_image_as_the_narrow_network_does_alone(arch: str, f: int) -> None:
    torch.manual_seed(0)
    layers = parse(arch, POOL)
    narrow = build(layers, size=(22, 30), classes=5, slot_of=f)
    folded = build(layers, size=(22, 30), classes=5, fold=f)
    initialise(narrow, "torch")
    assemble_slots(narrow, folded, f)
    images = torch.rand(6 * f, 3, 22, 30)
    assert torch.allclose(unfold(folded(fold(images, f)), f), narrow(images), atol=1e-5)


def test_a_random_folded_network_does_depend_on_the_order() -> None:
    torch.manual_seed(0)
    net = build(parse("C8 M F", POOL), size=(22, 30), classes=5, fold=2)
    initialise(net, "torch")
    images = torch.rand(2, 3, 22, 30)
    assert not torch.allclose(unfold(net(fold(images, 2)), 2)[0], unfold(net(fold(images.flip(0), 2)), 2)[1])


@pytest.mark.parametrize("f", [2, 3, 4])
def test_a_slot_comes_out_as_it_went_in_and_other_networks_have_none(f: int) -> None:
    torch.manual_seed(0)
    layers = parse("C32 M B M C8 M F", POOL)
    narrow, again = (build(layers, size=(22, 30), classes=5, slot_of=f) for _ in range(2))
    folded = build(layers, size=(22, 30), classes=5, fold=f)
    initialise(narrow, "torch")
    assemble_slots(narrow, folded, f)
    extract_slot(folded, again, f)
    assert all(torch.equal(*both) for both in zip(narrow.parameters(), again.parameters(), strict=True))
    initialise(folded, "reference")
    with pytest.raises(ValueError, match=f"not {f} copies of one"):
        extract_slot(folded, again, f)


@given(f=st.integers(1, 6), b=st.integers(0, 5), places=st.integers(-7, 7))
def test_turning_stacks_moves_images_within_them_and_back(f: int, b: int, places: int) -> None:
    rows = torch.arange(b * f * 2).view(b * f, 2)
    turned = roll_stacks(rows, f, places)
    assert torch.equal(roll_stacks(turned, f, -places), rows)
    assert all(torch.equal(turned[s * f + (j + places) % f], rows[s * f + j]) for s in range(b) for j in range(f))
