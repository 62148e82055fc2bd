"""`python -m train.evaluate`: evaluate a trained network without training."""
