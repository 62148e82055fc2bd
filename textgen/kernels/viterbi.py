"""The forward recursion of the Viterbi algorithm for labels of neighbouring frames, in compiled code.

Both functions take the states of one kind of counter and cost O(frames × states): a transition to any other state at
one cost is a maximum over all states, and a cost that grows with the distance is two passes over the states.
"""

from __future__ import annotations

import numpy as np

from textgen.kernels.jit import compiled


@compiled
def clock_forward(scores, emissions, intervals, reset, appear, pointers):
    """A clock that runs up or down: states 0…N-1 are its values while it runs up, N…2N-1 while it runs down.

    `scores` float64 (2N + other) is changed in place from those of the frame before to those of the last frame;
    `emissions` float32 (n, N + other) are log-likelihoods with the values in their order, then perhaps the class other;
    `intervals` float64 (n) are the seconds since the frame before, of which a negative one means that there is none;
    `reset` float64 (n) is the cost of a change to any value, and `appear` that of appearing and of disappearing.
    `pointers` int16 (n, 2N + other) receives the state before. `other` is 0 or 1.
    """
    states, classes = len(scores), emissions.shape[1]
    values = states - classes
    other = classes - values
    before = np.empty_like(scores)
    steps = np.empty(values + 1)
    for t in range(len(emissions)):
        if intervals[t] < 0:
            for s in range(2 * values):
                scores[s], pointers[t, s] = emissions[t, s % values], s
            if other:
                scores[2 * values], pointers[t, 2 * values] = emissions[t, values], 2 * values
            continue
        before[:] = scores
        best = 0
        for s in range(2 * values):
            if before[s] > before[best]:
                best = s
        elapsed = intervals[t]
        most = min(int(elapsed + 0.5) + 2, values - 1)  # one more: a recording may have left out a value
        # Logarithms of Poisson's probabilities for one step a second; standing still never costs much.
        steps[0] = max(-elapsed, -5.0)
        term = -elapsed
        for m in range(1, most + 1):
            term += np.log(elapsed / m)
            steps[m] = term
        jump = before[best] - reset[t]
        source = best
        if other and before[2 * values] - appear > jump:
            jump, source = before[2 * values] - appear, 2 * values
        for direction in range(2):
            first = direction * values
            for k in range(values):
                score, pointer = jump, source
                for m in range(most + 1):
                    at = k - m if direction == 0 else k + m
                    if at < 0:
                        at += values
                    elif at >= values:
                        at -= values
                    if before[first + at] + steps[m] > score:
                        score, pointer = before[first + at] + steps[m], first + at
                scores[first + k], pointers[t, first + k] = score + emissions[t, k], pointer
        if other:
            score, pointer = before[2 * values], 2 * values
            if before[best] - appear > score:
                score, pointer = before[best] - appear, best
            scores[2 * values], pointers[t, 2 * values] = score + emissions[t, values], pointer


@compiled
def counter_forward(scores, emissions, other, change, slope, jump, appear, pointers):
    """A counter that stands still or changes: by d values at the cost min(change + slope d, jump).

    `scores` float64 (N + other), `emissions` float32 (n, N + other) and `pointers` int16 (n, N + other) are as in
    `clock_forward`, but each value is one state. `change` float64 (n) is negative where there is no frame before.
    `other` is 1 if the last class is other, else 0.
    """
    states = len(scores)
    values = states - other
    before = np.empty_like(scores)
    for t in range(len(emissions)):
        if change[t] < 0:
            for s in range(states):
                scores[s], pointers[t, s] = emissions[t, s], s
            continue
        before[:] = scores
        best = 0
        for s in range(values):
            if before[s] > before[best]:
                best = s
        far, source = before[best] - jump, best
        if values < states and before[values] - appear > far:
            far, source = before[values] - appear, values
        for k in range(values):
            if before[k] >= far:
                scores[k], pointers[t, k] = before[k], k
            else:
                scores[k], pointers[t, k] = far, source
        carried, carrier = -np.inf, 0
        for k in range(values):  # from smaller values
            if carried - change[t] > scores[k]:
                scores[k], pointers[t, k] = carried - change[t], carrier
            if before[k] > carried:
                carried, carrier = before[k], k
            carried -= slope
        carried, carrier = -np.inf, 0
        for k in range(values - 1, -1, -1):  # from larger values
            if carried - change[t] > scores[k]:
                scores[k], pointers[t, k] = carried - change[t], carrier
            if before[k] > carried:
                carried, carrier = before[k], k
            carried -= slope
        for k in range(values):
            scores[k] += emissions[t, k]
        if values < states:
            score, pointer = before[values], values
            if before[best] - appear > score:
                score, pointer = before[best] - appear, best
            scores[values], pointers[t, values] = score + emissions[t, values], pointer


@compiled
def trace_back(pointers, state, states):
    """Follow `pointers` int16 (n, states) from `state` in the last frame back; `states` int64 (n) receives the path."""
    for t in range(len(pointers) - 1, -1, -1):
        states[t] = state
        state = pointers[t, state]
