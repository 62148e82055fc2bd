"""Footage: frames of videos, pictures and cameras, regions of them, and folders of crops."""
