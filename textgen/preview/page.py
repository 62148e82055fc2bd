"""The HTML page of a preview: the game, its crops by class, font, background and style, refused tries, and checks.

The page is one self-contained file. The templates escape all texts, those of the user included.
"""

from __future__ import annotations

from collections import Counter

from textgen.common.html_templates import load_template
from textgen.preview.crop_strips import CropStrips
from textgen.preview.samples import PageData
from textgen.preview.sections import build_sections

MAX_CROP_WIDTH, PHONE_CROP_WIDTH = 480, 110  # pixels on the screen, at the zoom that a page and a phone begin with


def render_page(data: PageData) -> str:
    """Render the whole page."""
    game = data.definition.game
    strips = CropStrips(data)
    sections = build_sections(data, strips)
    zoom = max(1, min(data.zoom, MAX_CROP_WIDTH // strips.width))
    phone_zoom = max(PHONE_CROP_WIDTH // strips.width, min(2, 3 * PHONE_CROP_WIDTH // strips.width))
    texts = [text for text in dict.fromkeys(data.shown.crops.texts) if text]
    return load_template("textgen.preview", "page.html").render(
        data=data,
        title=f"{game.title} ({game.name})" if game.title else game.name,
        texts=texts[:3],
        check_counts=Counter(check.status for check in data.report.checks) if data.report else {},
        sections=sections,
        strips=strips.encode(),
        width=strips.width,
        height=strips.height,
        zoom=zoom,
        phone_zoom=max(1, min(zoom, phone_zoom)),
    )
