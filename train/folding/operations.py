"""The layers and functions that can be folded, grouped by what they do with channels.

A function is found by its name, so that `torch.relu`, `functional.relu` and `Tensor.relu` are one entry.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules import activation, batchnorm, dropout, instancenorm, padding, pooling, upsampling
from torch.nn.modules.conv import _ConvNd

WEIGHT_LAYERS = (_ConvNd, nn.Linear)
NORM_LAYERS = (batchnorm._BatchNorm, instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
RESIZED_LAYERS = (*WEIGHT_LAYERS, *NORM_LAYERS, nn.PReLU)  # their parameters depend on the number of channels

# Channel-mixing operations work for any number of channels, but combine or reorder channels. Between the first and the
# last layer that is allowed; after the last layer they would mix the logits of the images of a stack.
CHANNEL_MIXING_MODULES = (
    *(nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU),
    *(nn.LocalResponseNorm, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
)
# Channel-wise operations work for any number of channels, each by itself, and keep the order of channels. They are
# allowed everywhere.
CHANNELWISE_MODULES = (
    *(
        getattr(module, name)
        for module in (activation, dropout, padding, pooling, upsampling)
        for name in module.__all__
        if name not in ("MultiheadAttention", *(mixing.__name__ for mixing in CHANNEL_MIXING_MODULES))
    ),
    *(nn.Flatten, nn.Identity),
)


def _split_names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elementwise arithmetic on two operands, of which one may be broadcast over the other.
ELEMENTWISE = _split_names("""
    add sub mul div truediv true_divide pow maximum minimum iadd isub imul itruediv add_ sub_ mul_ div_
""")
# Their sizes may be written as numbers in the user's code; folding changes those numbers in the graph.
RESHAPES = _split_names("view reshape")
# Sums and means are among them, as most are over height and width; `FoldedGraph` refuses those that join images.
CHANNELWISE_FUNCTIONS = (
    ELEMENTWISE
    | RESHAPES
    | _split_names("""
        relu relu_ relu6 sigmoid sigmoid_ tanh tanh_ gelu silu mish hardswish hardsigmoid hardtanh leaky_relu
        leaky_relu_ elu elu_ selu celu softplus softsign logsigmoid exp log sqrt rsqrt abs neg square clamp clip
        max_pool1d max_pool2d avg_pool1d avg_pool2d lp_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
        adaptive_max_pool1d adaptive_max_pool2d interpolate pad dropout dropout1d dropout2d alpha_dropout
        feature_alpha_dropout contiguous clone detach float half double to flatten squeeze unsqueeze
        mean sum amax amin expand expand_as getitem getattr size dim
    """)
)
# Each output depends on all channels. On the input images, before the first layer, that would mix images as well.
CHANNEL_REDUCTIONS = _split_names("softmax log_softmax softmin normalize max min")
CHANNEL_MIXING_FUNCTIONS = CHANNEL_REDUCTIONS | _split_names("""
    cat concat concatenate stack chunk transpose permute matmul bmm repeat
""")
