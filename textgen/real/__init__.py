"""Crops of real footage as training images: read, recombined to other texts, and varied."""
