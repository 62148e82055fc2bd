"""`foldtext new`: a first file for a game, also from crops of the user's own."""
