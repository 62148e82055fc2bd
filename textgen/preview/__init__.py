"""`python -m textgen.preview`: a contact sheet and a page about a game."""
