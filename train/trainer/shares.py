"""Each of several processes computes a share of every batch, and all take the step of the whole batch.

The shares are contiguous and of whole stacks. The loss of a share is weighted by its part of the batch, so that the sum
of all gradients is the gradient of the batch's mean. It is added up in one message, flattened, with the sums of the
metrics. torch's DistributedDataParallel would send gradients while others are still computed, which pays for larger
networks; but it averages shares of unequal sizes as if they were equal, and expects one forward pass for each backward
pass, where order consistency needs two. It also leaves batch norms and dropout to each process: here both work as if
one process computed the whole batch (`WholeBatch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from train.common.parallel import ALONE, Group

RANDOM: set[Callable[..., Any]] = {  # what draws a number for each entry of its first argument
    *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d),
    *(functional.alpha_dropout, functional.feature_alpha_dropout, functional.rrelu),
}


@dataclass(frozen=True)
class Share:
    """The images `rows` of a batch of `batch` images, in stacks of `stack`, which one process of `group` computes.

    In a batch of fewer stacks than processes, some processes compute its first stack too, without `counts`: its loss
    has no weight, and batch norms leave it out.
    """

    rows: slice
    batch: int
    stack: int
    counts: bool = True
    group: Group = ALONE

    @classmethod
    def of_batch(cls, batch: int, stack: int, group: Group) -> Share:
        """That of this process, of a batch of `batch` images in stacks of `stack`."""
        stacks = batch // stack
        begin, end = (stacks * number // group.size * stack for number in (group.rank, group.rank + 1))
        if begin == end:
            return cls(slice(0, stack), batch, stack, False, group)
        return cls(slice(begin, end), batch, stack, True, group)

    @property
    def images(self) -> int:
        """The number of images that are computed, also if they do not count."""
        return int(self.rows.stop - self.rows.start)

    def backward(self, net: nn.Module, loss: Tensor, sums: Sequence[Tensor]) -> list[Tensor]:
        """Give the parameters of `net` the gradients of the batch's mean loss, of which `loss` is the share's mean.

        `sums` are single numbers, sums over the share; returns those over the batch.
        """
        if self.group.alone:
            loss.backward()  # type: ignore[no-untyped-call]
            return list(sums)
        (loss * (self.images / self.batch if self.counts else 0.0)).backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
        numbers = [(value if self.counts else torch.zeros_like(value)).to(loss.dtype).reshape(1) for value in sums]
        flat = self.group.sum(torch.cat([*(gradient.flatten() for gradient in gradients), *numbers]))
        parts = torch.split(flat, [*(gradient.numel() for gradient in gradients), *[1] * len(numbers)])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        return [part[0] for part in parts[len(gradients) :]]


class WholeBatch(TorchFunctionMode):
    """While it is entered, batch norms and dropout of a network that is given a share work on the whole batch.

    Batch norms take mean and variance over all processes. Dropout, and other layers of `RANDOM`, draw for the whole
    batch in every process, so that all generators stay in step, and keep what they have drawn for the share.
    """

    def __init__(self, share: Share):
        super().__init__()
        self._share = share

    def __torch_function__(  # type: ignore[no-untyped-def]
        self, function, types, arguments=(), keywords=None
    ) -> Any:
        keywords = keywords or {}
        if function is functional.batch_norm:
            return self._batch_norm(*arguments, **keywords)
        if function in RANDOM:
            return self._draw(function, *arguments, **keywords)
        return function(*arguments, **keywords)

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        channels = input.shape[1]
        weight = input.new_ones(channels, dtype=torch.float32) if weight is None else weight
        bias = torch.zeros_like(weight) if bias is None else bias
        normed: Tensor = _BatchNorm.apply(  # type: ignore[no-untyped-call]
            input, weight, bias, running_mean, running_var, momentum, eps, self._share
        )
        return normed

    def _draw(self, function: Callable[..., Tensor], input: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """`function` of the share's rows, as they are within the batch: the others are zeros here."""
        share = self._share
        stacks = share.images // share.stack
        each, remainder = divmod(len(input), stacks)
        if remainder:  # a module of the user's own has put something else first than stacks, or images
            return function(input, *arguments, **keywords)
        begin, end, batch = (count // share.stack * each for count in (share.rows.start, share.rows.stop, share.batch))
        shape = (batch, *input.shape[1:])
        channels_last = input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        whole = torch.zeros(shape, dtype=input.dtype, device=input.device).to(memory_format=layout)
        whole[begin:end] = input
        if "inplace" in keywords:
            keywords["inplace"] = False
        return function(whole, *arguments, **keywords)[begin:end]


class _BatchNorm(torch.autograd.Function):
    """A batch norm over the shares of all processes; see `functional.batch_norm`."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
        share: Share,
    ) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        var, mean = torch.var_mean(x.to(weight.dtype), axes, correction=0)  # (C,)
        count = mean.new_full((1,), x.numel() / x.shape[1] if share.counts else 0)
        every = share.group.gather(torch.cat((mean, var, count)))  # (processes, 2C + 1)
        means, variances, counts = torch.split(every, [len(mean), len(mean), 1], 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        var = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
        if running_var is not None:
            running_var.lerp_((var * (total / (total - 1))).to(running_var), momentum)
        context.save_for_backward(x, weight, mean, var, total)
        context.eps, context.share = eps, share
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(context, gradient):  # type: ignore[no-untyped-def]
        x, weight, mean, var, total = context.saved_tensors
        # With given mean and variance; those of weight and bias are sums over this process's share.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, var, None, None, False, context.eps, [True, True, True]
        )
        sums = context.share.group.sum(torch.cat((of_weight, of_bias))) / total
        sum_weight, sum_bias = sums.chunk(2)  # Σ dy·x̂ / n and Σ dy / n
        if not context.share.counts:  # mean and variance do not depend on it
            return of_x, of_weight, of_bias, None, None, None, None, None
        scale = torch.rsqrt(var + context.eps)
        slope = weight * scale**2 * sum_weight  # dx -= weight · scale · (Σ dy / n + x̂ · Σ dy·x̂ / n)
        offset = weight * scale * sum_bias - slope * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        of_x = of_x - (x * slope.view(shape) + offset.view(shape)).to(of_x.dtype)
        return of_x, of_weight, of_bias, None, None, None, None, None
