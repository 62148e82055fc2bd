"""The advice that ends a message about a run's folder which cannot be written."""

OTHER_RUNS_FOLDER = "another folder with runs=… or out=…"
