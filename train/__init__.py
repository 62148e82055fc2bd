"""Train FoldedCNNs on crops of game text and measure what they are worth."""
