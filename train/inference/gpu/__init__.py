"""A network as one GPU kernel, in Triton."""
