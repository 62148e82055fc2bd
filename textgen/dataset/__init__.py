"""Data sets on disk: built in blocks, opened and verified, imported from folders of pictures."""
