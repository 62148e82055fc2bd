"""A layer that resizes images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResizeImages(nn.Module):
    """Resize images of size `before` (H, W) to `after` (H', W'), (b, c, H, W) -> (b, c, H', W'): bilinear, antialiased.

    It is computed as two products with fixed matrices, which every exporter supports, and equals
    `functional.interpolate`.
    """

    rows: Tensor  # (H', H)
    columns: Tensor  # (W, W')

    def __init__(self, before: tuple[int, int], after: tuple[int, int]):
        super().__init__()
        (h, w), (new_h, new_w) = before, after
        self.register_buffer("rows", _interpolation_matrix(h, new_h), persistent=False)
        self.register_buffer("columns", _interpolation_matrix(w, new_w).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns  # (H', H) @ (b, c, H, W) @ (W, W') -> (b, c, H', W')


def _interpolation_matrix(before: int, after: int) -> Tensor:
    """The matrix (after, before) that resizes a side: the weight of each old position in each new one."""
    unit_images = torch.eye(before)[None, None]  # (1, 1, before, before)
    return functional.interpolate(unit_images, (after, before), mode="bilinear", antialias=True)[0, 0]
