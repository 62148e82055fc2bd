"""`python -m train.export`: a trained network as one file."""
