"""ResNet-18 in the variant for CIFAR (He et al., 2016; §5.4 of the paper), for single images; `fold_model` folds it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3×3 convolutions whose output is added to the input: (b, c_in, H, W) -> (b, c_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Where the sizes of both differ, the input passes through a 1×1 convolution of the same stride.
    """

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A 3×3 stem of stride 1 without a pool, four stages of two blocks, global average pooling, a linear layer.

    Images (b, 3, H, W) -> logits (b, classes). The stages are `width`, 2·`width`, 4·`width` and 8·`width` wide; all
    but the first begin with a stride of 2.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.stage1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.stage2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.stage3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width, 1))
        self.stage4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width, 1))
        self.linear = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        x = functional.adaptive_avg_pool2d(x, 1)  # (b, 8*width, h, w) -> (b, 8*width, 1, 1)
        return cast(Tensor, self.linear(torch.flatten(x, 1)))


def resnet18(classes: int, width: int = 64) -> nn.Module:
    """Build ResNet-18 for images (b, 3, H, W) of any size, such as CIFAR's 32×32, with PyTorch's initial weights.

    >>> sum(p.numel() for p in resnet18(10).parameters())
    11173962
    >>> resnet18(10, width=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ResNet(classes, width)
