"""`python -m textgen.export`: a data set as ImageFolder, Parquet or WebDataset."""
