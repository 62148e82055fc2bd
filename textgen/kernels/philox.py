"""Philox4x32-10 (Salmon et al., SC 2011): random numbers as a function of a key and a counter, in compiled code.

Every sample has random streams of its own, numbered by (key, index, stream), so it can be drawn alone, in any order
and on any thread. A state is uint64 (11,): key (2), counter (4: block, stream, index), the block's words (4), words
used.
"""

import numpy as np

from textgen.kernels.jit import compiled

STATE = 11
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@compiled
def start(state, key, index, stream):
    """Set `state` to the start of random stream `stream` (below 2**32) of sample `index`, under a 64-bit `key`."""
    state[0], state[1] = np.uint64(key) & _LOW, np.uint64(key) >> _32
    state[2], state[3] = 0, np.uint64(stream)
    state[4], state[5] = np.uint64(index) & _LOW, np.uint64(index) >> _32
    state[10] = 4


@compiled
def word(state):
    """The next 32 random bits, as uint64."""
    used = state[10]
    if used == 4:
        k0, k1, c0, c1, c2, c3 = state[0], state[1], state[2], state[3], state[4], state[5]
        for _ in range(10):
            p0, p1 = _M0 * c0, _M1 * c2
            c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        state[6], state[7], state[8], state[9] = c0, c1, c2, c3
        state[2] += np.uint64(1)
        used = np.uint64(0)
    state[10] = used + np.uint64(1)
    return state[np.uint64(6) + used]


@compiled
def uniform(state):
    """A float64 in [0, 1), one of 2**32 values."""
    return np.float64(word(state)) * 2.0**-32


@compiled
def between(state, low, high):
    """A float64 in [low, high)."""
    return low + (high - low) * uniform(state)


@compiled
def below(state, n):
    """An integer in 0 … n - 1, for n up to 2**31."""
    return np.int64((word(state) * np.uint64(n)) >> _32)


@compiled
def weighted(state, bounds):
    """A random index; `bounds` (k,) are the cumulative sums of the chances, the last of them 1."""
    return min(np.int64(np.searchsorted(bounds, uniform(state), side="right")), len(bounds) - 1)
