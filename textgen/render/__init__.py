"""Crops from a game: `Renderer` draws any sample of any split, and degrades it."""
