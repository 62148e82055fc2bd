"""Architectures, built from the paper's notation."""
