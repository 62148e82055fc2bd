"""Train FoldedCNNs on crops of game text and measure what they are worth."""

import os

# OpenMP's threads spin while they wait for each other. Where another process wants a core, that makes a step on a CPU
# ten times slower (docs/training.md), so they sleep instead. It is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
