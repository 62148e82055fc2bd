"""Aligned columns of text."""

from __future__ import annotations

from collections.abc import Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned, the first columns to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(n) if at < left else cell.rjust(n) for at, (cell, n) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]
