"""`python -m textgen.lint`: what a game's crops give away besides their texts."""
