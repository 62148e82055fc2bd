"""Folding: stacks, widths and slots, and `fold_model` for any PyTorch network."""
