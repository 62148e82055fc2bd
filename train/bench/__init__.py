"""`python -m train.bench`: crops a second of all forms and engines."""
