"""Fonts that tests build themselves."""

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen


def built(out: Path, drawn: str, blank: str = "") -> Path:
    """A font of boxes 500 × 700 units for the characters `drawn`, and nothing for those of `blank`."""
    names = {ord(c): f"u{ord(c):04x}" for c in drawn + blank}
    order = [".notdef", *names.values()]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    glyphs = {}
    for name in order:
        pen = TTGlyphPen(None)
        if name in [names[ord(c)] for c in drawn]:
            for i, point in enumerate([(50, 0), (50, 700), (550, 700), (550, 0)]):
                (pen.lineTo if i else pen.moveTo)(point)
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(order, (600, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(out)
    return out
