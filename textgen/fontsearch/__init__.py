"""Which font a counter is set in: letters are cut out of crops and compared with those of font files."""
