"""Train FoldedCNNs on crops of game text and measure what they are worth."""

import os

# OpenMP's threads spin while they wait for each other: where another process wants a core, a step on a CPU takes many
# times as long. If they sleep at once, it takes twice as long where none does. So they spin shortly (docs/training.md).
# Both are read once, when torch is loaded. The first is for every OpenMP; GCC's, PyTorch's on Linux, goes by the other.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
