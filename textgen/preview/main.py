"""`python -m textgen.preview game=…`: draw a contact sheet, a row a class, and an HTML page about a game.

`textgen.preview.page` says what the page holds.
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
from textgen.lint.report import lint
from textgen.preview.contact_sheet import draw_contact_sheet
from textgen.preview.page import render_page
from textgen.preview.samples import PageData, collect_page_data
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


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="preview")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, command_settings(c))
    definition = parse_definition(c, s.seed)
    settings = yaml.safe_dump({key: c[key] for key in (*KEYS, "seed")}, sort_keys=False, allow_unicode=True)
    command = shlex.join(["python", "-m", "textgen.preview", *sys.argv[1:]])
    sheet_path, page_path = output_paths(s.out, definition.game.name)
    with atomic_file(sheet_path, OTHER_OUT) as write_sheet, atomic_file(page_path, OTHER_OUT) as write_page:
        renderer = Renderer.from_definition(definition)
        if s.show not in renderer.splits:
            hint = "test_fonts and test_backgrounds need split.holdout_fonts and split.holdout_backgrounds"
            raise UserError(f"show={s.show} is no split of this game, which has {', '.join(renderer.splits)}; {hint}")
        data = collect_page_data(definition, renderer, s.show, s.each, s.zoom, command, settings)
        if s.lint and not data.error:
            try:
                data = dataclasses.replace(data, report=lint(renderer, s.lint))
            except UserError as error:  # the checks draw more crops than the page
                data = dataclasses.replace(data, error=error.summary)
        if len(data.shown.crops.labels):
            write_sheet(_encode_picture(_draw_sheet(data), sheet_path))
        write_page(render_page(data).encode("utf-8", "xmlcharrefreplace"))
    if data.error:
        raise UserError(f"{data.error}; {page_path} shows the refused tries")
    texts = ", ".join(repr(text) for text in data.shown.crops.texts[:3])
    print(f"{sheet_path}: {len(renderer.classes)} classes, texts such as {texts}")
    print(f"{page_path}: by class, font, background and style, what was refused{', and the checks' * bool(s.lint)}")


def output_paths(out: Path | None, name: str) -> tuple[Path, Path]:
    """The paths of the sheet and the page. `out` is either file, both without suffix, or an existing folder.

    >>> [path.as_posix() for path in output_paths(Path("a/x.png"), "game")]
    ['a/x.png', 'a/x.html']
    """
    if out is None or out.is_dir():
        out = (out or Path()) / name
    elif out.suffix.lower() in (".html", ".htm"):
        return out.with_suffix(".png"), out
    elif out.suffix.lower() in Image.registered_extensions():
        return out, out.with_suffix(".html")
    return out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.html")


def _draw_sheet(data: PageData) -> Image.Image:
    """The contact sheet with the first `each` crops of every class; of several fields, of every class of each."""
    images = data.shown.crops.images
    of_classes = data.shown.of_classes(data.renderer.fields)
    rows = [(name, list(images[numbers[: data.each]])) for name, numbers in of_classes if numbers]
    return draw_contact_sheet(rows, data.zoom, list(dict.fromkeys(face.path for face in data.renderer.faces)))


def _encode_picture(image: Image.Image, path: Path) -> bytes:
    """An image in the file format of the suffix of `path`."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, Image.registered_extensions()[path.suffix.lower()])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot write the picture {path}: {error}; choose another with out=…") from None
    return buffer.getvalue()


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "preview")
