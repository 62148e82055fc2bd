"""The advice that ends messages about a run's folder."""

TRAIN_AGAIN = "train again with fresh=true"  # the advice about a damaged file of a run
OTHER_RUNS_FOLDER = "another folder with runs=… or out=…"
