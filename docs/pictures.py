"""Draw docs/games.png, the contact sheet in the README: `python docs/pictures.py`, from the root of the checkout."""

from pathlib import Path

from textgen import compose, parse_definition
from textgen.preview.contact_sheet import draw_contact_sheet
from textgen.render.renderer import Renderer

rows = []
for file in sorted(Path("conf/game").glob("*.yaml")):
    definition = parse_definition(compose(f"game={file.stem}"), seed=0)
    width = definition.game.size[1]
    count = 2 * (430 // (width + 1))
    crops = list(Renderer.from_definition(definition).render("train", range(count)).images)
    rows += [(file.stem, crops[: count // 2]), ("", crops[count // 2 :])]
draw_contact_sheet(rows, zoom=2).save("docs/games.png", optimize=True)
