"""`python -m textgen.preview game=…`: what to look at before training, as a contact sheet and as a page.

The sheet is a picture with a row a class; the page shows a game from all sides, see `textgen.preview.page`.
"""

from __future__ import annotations

import dataclasses
import io
import shlex
import sys
from pathlib import Path
from typing import Annotated

import hydra
import yaml
from omegaconf import DictConfig
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.atomic import OTHER_OUT, atomic_file
from textgen.common.errors import UserError
from textgen.common.validation import Seed, UserPath, validate
from textgen.lint.main import lint
from textgen.preview.contact_sheet import sheet
from textgen.preview.page import View, look, page
from textgen.render.renderer import Renderer
from textgen.schema.definition import KEYS, command_settings, parse_definition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/preview.yaml outside the data set's definition."""

    each: Annotated[int, Field(ge=1, le=1000)]
    zoom: Annotated[int, Field(ge=1, le=16)]
    show: str
    lint: Annotated[int, Field(ge=0, le=100_000)]
    out: UserPath | None
    seed: Seed


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="preview")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, command_settings(c))
    definition = parse_definition(c, s.seed)
    settings = yaml.safe_dump({key: c[key] for key in (*KEYS, "seed")}, sort_keys=False, allow_unicode=True)
    command = shlex.join(["python", "-m", "textgen.preview", *sys.argv[1:]])
    sheet_path, page_path = paths_of(s.out, definition.game.name)
    with atomic_file(sheet_path, OTHER_OUT) as write_sheet, atomic_file(page_path, OTHER_OUT) as write_page:
        renderer = Renderer.of(definition)
        if s.show not in renderer.splits:
            held = "test_fonts and test_backgrounds need split.holdout_fonts and split.holdout_backgrounds"
            raise UserError(f"show={s.show} is no split of this game, which has {', '.join(renderer.splits)}; {held}")
        view = look(definition, renderer, s.show, s.each, s.zoom, command, settings)
        if s.lint and not view.trouble:
            try:
                view = dataclasses.replace(view, report=lint(renderer, s.lint))
            except UserError as error:  # among so many more crops there was one that cannot be drawn
                view = dataclasses.replace(view, trouble=error.summary)
        if len(view.shown.crops.labels):
            write_sheet(_picture(by_class(view), sheet_path))
        write_page(page(view).encode("utf-8", "xmlcharrefreplace"))
    if view.trouble:
        raise UserError(f"{view.trouble}; {page_path} shows tries that were refused")
    texts = ", ".join(repr(text) for text in view.shown.crops.texts[:3])
    print(f"{sheet_path}: {len(renderer.classes)} classes, texts such as {texts}")
    print(f"{page_path}: by class, font, background and style, what was refused{', and the checks' * bool(s.lint)}")


def paths_of(out: Path | None, name: str) -> tuple[Path, Path]:
    """Where sheet and page go: `out` names the one or the other, both without suffix, or a folder that is there.

    >>> [path.as_posix() for path in paths_of(Path("a/x.png"), "game")]
    ['a/x.png', 'a/x.html']
    """
    if out is None or out.is_dir():
        out = (out or Path()) / name
    elif out.suffix.lower() in (".html", ".htm"):
        return out.with_suffix(".png"), out
    elif out.suffix.lower() in Image.registered_extensions():
        return out, out.with_suffix(".html")
    return out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.html")


def by_class(view: View) -> Image.Image:
    """The contact sheet: the first `each` crops of every class."""
    classes = view.renderer.classes
    images = view.shown.crops.images[: view.each * len(classes)]
    return sheet([(name, list(images[n :: len(classes)])) for n, name in enumerate(classes)], view.zoom)


def _picture(image: Image.Image, path: Path) -> bytes:
    """A picture as the file that the suffix of `path` asks for."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, Image.registered_extensions()[path.suffix.lower()])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot write the picture {path}: {error}; choose another with out=…") from None
    return buffer.getvalue()


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "preview")
