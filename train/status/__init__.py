"""How far the runs of a folder are: `foldtext status runs/`."""
