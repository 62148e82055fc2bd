"""Winograd's convolution F(2×2, 3×3) in PyTorch's operations (Lavin & Gray, 2016; §D of the paper).

Libraries choose their convolution algorithm, and not all can be made to use this one. This module applies it to any
network, to measure the gain of folding with fewer multiplications: a 2×2 tile of the output takes 16 instead of 36 for
each pair of channels, all in 16 matrix products.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


class WinogradConv(nn.Module):
    """A 3×3 convolution of stride 1 and padding 1, with any number of groups, (n, c, h, w) -> (n, o, h, w).

    The filters are transformed once, in advance. Raises `ValueError` for other convolutions.
    """

    filters: Tensor  # (16, groups, c / groups, o / groups)

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        kind = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode)
        if kind != ((3, 3), (1, 1), (1, 1), (1, 1), "zeros"):
            raise ValueError(f"F(2×2, 3×3) is for 3×3 convolutions of stride 1 and padding 1 by zeros, not {conv}")
        self.groups, self.outputs = conv.groups, conv.out_channels
        g = torch.tensor(G, dtype=torch.float64)
        filters = g @ conv.weight.detach().double() @ g.T  # (o, c / groups, 3, 3) -> (o, c / groups, 4, 4)
        filters = filters.reshape(self.groups, -1, *filters.shape[1:]).permute(3, 4, 0, 2, 1).flatten(0, 1)
        self.register_buffer("filters", filters.to(conv.weight).contiguous())
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tile_rows, tile_columns = (h + 1) // 2, (w + 1) // 2  # tiles
        x = functional.pad(x, (1, 1 + w % 2, 1, 1 + h % 2)).permute(0, 2, 3, 1)  # (n, h', w', c)
        rows = _differences([x[:, at : at + 2 * tile_rows : 2] for at in range(4)])  # 4 of (n, tile_rows, w', c)
        tiles = [_differences([row[:, :, at : at + 2 * tile_columns : 2] for at in range(4)]) for row in rows]
        data = torch.stack([tile for row in tiles for tile in row])  # (16, n, tile_rows, tile_columns, c)
        data = data.view(16, -1, self.groups, c // self.groups).transpose(1, 2)
        products = (data @ self.filters).transpose(1, 2).reshape(4, 4, n, tile_rows, tile_columns, self.outputs)
        across = _sums([products[at] for at in range(4)])  # 2 rows of a tile's outputs, each (4, n, …, o)
        result = torch.stack([torch.stack(_sums([row[at] for at in range(4)])) for row in across])
        # (row, column, n, tile_rows, tile_columns, o) -> (n, o, tile_rows·2, tile_columns·2)
        result = result.permute(2, 5, 3, 0, 4, 1).reshape(n, self.outputs, 2 * tile_rows, 2 * tile_columns)[
            :, :, :h, :w
        ]
        return result if self.bias is None else result + self.bias[:, None, None]


def _differences(d: list[Tensor]) -> list[Tensor]:
    """Bᵀd, for four values of the input."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _sums(m: list[Tensor]) -> list[Tensor]:
    """Aᵀm, two outputs from four products."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def with_winograd(net: nn.Module) -> nn.Module:
    """A copy of `net` with every 3×3 convolution of stride 1 and padding 1 as a `WinogradConv`."""
    net = deepcopy(net)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                try:
                    setattr(module, name, WinogradConv(child))
                except ValueError:
                    continue
    return net
