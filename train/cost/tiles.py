"""Tile quantisation (§H): what a device computes that fills up channels to a multiple of its tile."""

from __future__ import annotations

from math import prod

from train.cost.intensity import LayerCost
from train.models.notation import Align


def whole_tiles(layer: LayerCost, tile: int, groups: int = 1) -> bool:
    """Whether the channels of the layer, of each group, are multiples of `tile`, inputs and outputs."""
    return all(channels // groups % tile == 0 for channels in layer.channels)


def padded_operations(layer: LayerCost, tile: int, groups: int = 1) -> int:
    """Operations for one stack with the channels of every group, inputs and outputs, filled up to multiples of `tile`.

    Fully connected layers have features for channels.
    """
    channels = [of_all // groups for of_all in layer.channels]
    return layer.operations // prod(channels) * prod(map(Align(tile, "up"), channels))
