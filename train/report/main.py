"""`python -m train.report runs/table4`: the runs of a folder as tables, with the paper's numbers beside them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from textgen.common import cli
from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from train.report.formats import draw_figure, format_csv, format_markdown
from train.report.tables import collect_tables

OTHER_REPORT_FOLDER = "another folder with --out"


def _main() -> None:
    parser = argparse.ArgumentParser("train.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of runs, searched with all its subfolders")
    parser.add_argument("--out", type=Path, help="folder for table.md, table.csv and table.png; default: the same")
    parser.add_argument("--version", action="version", version=cli.version())
    given = parser.parse_args()
    if not given.folder.is_dir():
        raise UserError(f"{given.folder} is no folder: give a folder of runs, as runs/table4")
    tables, unfinished = collect_tables(given.folder)
    out = given.out or given.folder
    text = format_markdown(tables, unfinished)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "table.csv", format_csv(tables).encode(), OTHER_REPORT_FOLDER)
    write_atomic(out / "table.png", draw_figure(tables), OTHER_REPORT_FOLDER)
    write_atomic(out / "table.md", text.encode(), OTHER_REPORT_FOLDER)
    print(text)
    print(f"see {out / 'table.md'}, table.csv and table.png", file=sys.stderr)


def main() -> None:
    """The command."""
    cli.run(_main)
