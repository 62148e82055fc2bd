"""A simulated stream: a counter that counts, in the style of a game, over moving backgrounds, in H.264."""
