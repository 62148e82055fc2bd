"""`python -m textgen.regions`: a page on which regions of footage are drawn."""
