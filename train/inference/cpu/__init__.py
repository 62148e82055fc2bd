"""A network as machine code for this processor."""
