"""Fonts, backgrounds and icons: loaded or generated, checked, held out, and rasterised."""
