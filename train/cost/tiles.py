"""Tile quantisation (§H): the operations of a device that pads channels to multiples of its tile."""

from __future__ import annotations

from math import prod

from train.cost.intensity import LayerCost
from train.models.notation import Align


def whole_tiles(layer: LayerCost, tile: int, groups: int = 1) -> bool:
    """Whether the input and output channels of each group are multiples of `tile`."""
    return all(channels // groups % tile == 0 for channels in layer.channels)


def padded_operations(layer: LayerCost, tile: int, groups: int = 1) -> int:
    """Operations for one stack with the input and output channels of each group padded to multiples of `tile`.

    The channels of a fully connected layer are its features.
    """
    channels = [total // groups for total in layer.channels]
    return layer.operations // prod(channels) * prod(map(Align(tile, "up"), channels))
