"""Pieces of HTML: histograms, tables, lists, and numbers as people read them. Whatever a user wrote is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def histogram(title: str, values: NDArray[Any], refused: NDArray[Any], edges: NDArray[Any], mark: float | None) -> str:
    """How `values` spread, and upon them those `refused`."""
    inside, outside = np.histogram(values, edges)[0], np.histogram(refused, edges)[0]
    figures = f"least {values.min():.3g}, median {np.median(values):.3g}, most {values.max():.3g}"
    caption, told = f"<strong>{title}</strong><br>{figures}", f"{title}: {figures}"
    if mark is not None:
        caption += f'<br><span class="key in"></span>passed<span class="key out"></span>refused, below {mark:g}'
        told += f"; {len(refused)} refused below {mark:g}"
    return f"<figure><figcaption>{caption}</figcaption>{bars(told, edges, inside, outside, mark)}</figure>"


def bars(told: str, edges: NDArray[Any], inside: NDArray[Any], outside: NDArray[Any], mark: float | None) -> str:
    """A histogram as SVG: counts (n,) between edges (n + 1,), `outside` at the bottom; `told` for those who hear it."""
    width, height, base = 360, 130, 108
    scale = (base - 6) / max(float((inside + outside).max()), 1)
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return 4 + (value - low) / (high - low) * (width - 8)

    drawn = []
    for left, right, n, out in zip(edges[:-1], edges[1:], inside.tolist(), outside.tolist(), strict=True):
        wide, y = x(right) - x(left) - 1, float(base)
        for count, kind in ((out, "out"), (n, "in")):
            if count:
                y -= count * scale
                place = f'x="{x(left):.1f}" y="{y:.1f}" width="{wide:.1f}" height="{count * scale:.1f}"'
                drawn.append(f'<rect class="{kind}" {place}><title>{left:.4g} to {right:.4g}: {count:g}</title></rect>')
    drawn.append(f'<line x1="0" x2="{width}" y1="{base}" y2="{base}"/>')
    size = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 1000) if step * 8 >= high - low or step == 1000)
    for tick in range(int(np.ceil(low / size)) * size, int(high) + 1, size):
        drawn.append(f'<text x="{x(tick):.1f}" y="{base + 14}" text-anchor="middle">{tick}</text>')
    if mark is not None and mark > low:
        drawn.append(f'<line class="mark" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="0" y2="{base}"/>')
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{esc(told)}">{"".join(drawn)}</svg>'


def tenths(contrast: float) -> str:
    """Cut off, not rounded: 17.97 was refused where 18 would have passed."""
    return f"{np.floor(contrast * 10) / 10:.1f}".replace("-", "−")


def span(values: NDArray[Any], unit: str) -> str:
    low, high = float(values[0]), float(values[-1])
    return f"{low:g} {unit}".strip() if low == high else f"{low:g} to {high:g} {unit}".strip()


def listed(items: Sequence[str], what: str) -> str:
    """HTML of many things: the first ones, and the others behind a click."""
    if len(items) <= 30:
        return ", ".join(items)
    rest = ", ".join(items[20:1000]) + (" …" if len(items) > 1000 else "")
    more = f"<details><summary>{len(items) - 20} more {what}</summary>{rest}</details>"
    return ", ".join(items[:20]) + f" {more}"


def cut(shown: int, total: int, what: str) -> str:
    return f'<p class="note">Shown: {shown} of {total:,} {what}.</p>' if shown < total else ""


def cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of plain texts, the columns `numbers` flush right."""
    kinds = [' class="number"' if n in numbers else "" for n in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{esc(name)}</th>' for name, kind in zip(head, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{esc(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def esc(text: str) -> str:
    """Any text as HTML, in an element or a quoted attribute."""
    return html.escape(text, quote=True)
