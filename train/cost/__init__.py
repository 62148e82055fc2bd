"""`python -m train.cost`: operations, bytes, arithmetic intensity, roofline."""
