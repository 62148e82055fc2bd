"""From footage to values: trained networks read regions of every frame."""
