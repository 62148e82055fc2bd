"""benchmarks/RESULTS.md: a section for each benchmark, with the command that makes it, the machine and the day."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def machine() -> str:
    """This machine and day, for the line under a table."""
    from train.common.machine import processor  # noqa: PLC0415, brings torch, which is not for what is measured

    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.date.today()}"


def write(name: str, title: str, command: str, text: str, path: Path = RESULTS) -> None:
    """Replace the section `name` of RESULTS.md, or of the file `path`, or add it at the end."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results of the benchmarks\n"
    section = f"{first}\n{text}\n{last}"
    head, found, rest = old.partition(first)
    if found and last in rest:
        new = head + section + rest.partition(last)[2]
    else:
        new = f"{old.rstrip()}\n\n## {title}\n\n    {command}\n\n{section}\n"
    path.write_text(new, encoding="utf-8")
