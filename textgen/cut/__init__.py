"""`python -m textgen.cut`: crops of regions of footage, with an index."""
