"""Everything that numba compiles: random numbers, texts, drawing, degradation, contrast."""
