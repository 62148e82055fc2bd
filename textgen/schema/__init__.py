"""The dataclasses behind the configuration files: games, augmentation, splits, data-set definitions."""
