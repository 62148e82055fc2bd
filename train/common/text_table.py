"""Text tables."""

from __future__ import annotations

from collections.abc import Sequence


def format_columns(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table with aligned columns: the first `left` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(n) if at < left else cell.rjust(n) for at, (cell, n) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]
