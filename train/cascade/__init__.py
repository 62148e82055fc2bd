"""`python -m train.cascade`: a network in front of a slower one, which answers what the first is unsure of (App. G)."""
