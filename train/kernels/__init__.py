"""Whole networks as one kernel."""
