"""A trained network, and all forms and engines that run it."""
