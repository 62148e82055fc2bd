"""Results: of one run as JSON, figures and a page; of many runs as tables (`python -m train.report`)."""
