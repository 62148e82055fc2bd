"""Accuracy over random groupings into stacks, and order agreement."""
