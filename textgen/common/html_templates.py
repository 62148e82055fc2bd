"""HTML pages from Jinja2 templates, which are package data beside the modules that fill them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import cache
from typing import NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined, Template


class Table(NamedTuple):
    """A table for the macro `table` of common/table.html: the texts of its cells, and the right-aligned columns."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Container[int] = ()


def load_template(package: str, name: str) -> Template:
    """Load a template by its path in `package`. Values are escaped for HTML; a missing value is an error.

    Templates may import those of `textgen.common` as `common/…`. The filter `number` is Python's `format`.

    >>> load_template("textgen.preview", "partials/refused.html").name
    'partials/refused.html'
    """
    return _make_environment(package).get_template(name)


@cache
def _make_environment(package: str) -> Environment:
    common = PrefixLoader({"common": PackageLoader("textgen.common", "")})
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), common]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format
    return environment
