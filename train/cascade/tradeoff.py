"""The arithmetic of the paper's App. G: when a faster but less accurate network makes a cascade faster.

A specialised network takes T_s for a frame. It forwards the share u of the frames to a general network, which takes
T_g: E[T] = T_s + u·T_g. A FoldedCNN is x times as fast and forwards a more: E[T] = T_s/x + (u + a)·T_g. So folding pays
if 1 - 1/x > a·T_g/T_s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from textgen.common.errors import UserError

Pays = Literal["below", "above", "always", "never"]


@dataclass(frozen=True)
class Tradeoff:
    """A FoldedCNN in place of the original, in a cascade.

    `x` > 0 is its speed, relative to the original. `a` is the share of frames that it forwards beyond the original's;
    the paper takes the loss of accuracy for it, -0.0003 where it is more accurate. `ratio` is T_g / T_s with the T_s of
    the original, None if it is not known. `u` is the share that the original forwards, None if it is not known.
    """

    x: float
    a: float
    ratio: float | None = None
    u: float | None = None

    def __post_init__(self) -> None:
        """Raises `UserError` if u + a is no share."""
        if self.u is not None and not 0 <= self.u + self.a <= 1:
            low, high = max(0.0, -self.a), min(1.0, 1.0 - self.a)
            raise UserError(
                f"u={self.u:g} with a={self.a:g}: the FoldedCNN would forward {self.u + self.a:.2%} of the frames; give"
                f" a u from {low:g} to {high:g}"
            )

    @property
    def break_even(self) -> float | None:
        """The ratio T_g / T_s at which both are as fast, (1/a)·(1 - 1/x); None if there is no such ratio."""
        at = (1 - 1 / self.x) / self.a if self.a else 0.0
        return at if at > 0 else None

    @property
    def pays(self) -> Pays:
        """At which ratios folding makes the cascade faster: below or above `break_even`, at all, or at none.

        Below it for a faster network that forwards more; above it for a slower one that forwards less. A network that
        is neither faster nor forwards less never pays.
        """
        if self.break_even is not None:
            return "below" if self.a > 0 else "above"
        return "always" if self.a <= 0 and self.x >= 1 and (self.a < 0 or self.x > 1) else "never"

    @property
    def pays_here(self) -> bool | None:
        """Whether folding makes the cascade faster at `ratio`; None without one."""
        return None if self.ratio is None else 1 - 1 / self.x > self.a * self.ratio

    @property
    def latencies(self) -> tuple[float, float] | None:
        """E[T] of the original and with folding, in units of T_s; None without `ratio` or `u`."""
        if self.ratio is None or self.u is None:
            return None
        return 1 + self.u * self.ratio, 1 / self.x + (self.u + self.a) * self.ratio

    @property
    def verdict(self) -> str:
        """When folding pays, and whether it does at `ratio`, in words.

        >>> Tradeoff(2.5, 0.0021, 83).verdict, Tradeoff(2.51, 0.0089, 83).verdict
        ('folding pays below 285.7x; at 83x it pays', 'folding does not pay at 83x: it pays below 67.6x')
        """
        if self.break_even is None:
            return "folding pays at any ratio" if self.pays == "always" else "folding pays at no ratio"
        at = f"{self.pays} {self.break_even:.1f}x"
        if self.ratio is None:
            return f"folding pays {at}"
        if self.pays_here:
            return f"folding pays {at}; at {self.ratio:.4g}x it pays"
        return f"folding does not pay at {self.ratio:.4g}x: it pays {at}"

    def to_dict(self) -> dict[str, Any]:
        """All figures; `break_even` is null where `pays` is "always" or "never"."""
        names = ("original", "folded")
        return {
            "x": self.x,
            "a": self.a,
            "u": self.u,
            "ratio": self.ratio,
            "break_even": self.break_even,
            "pays": self.pays,
            "pays_here": self.pays_here,
            "expected_latency": dict(zip(names, self.latencies, strict=True)) if self.latencies else None,
            "verdict": self.verdict,
        }

    def to_text(self) -> str:
        """The verdict, and the expected latencies where they are known."""
        lines = [self.verdict]
        if self.latencies:
            original, folded = self.latencies
            lines.append(
                f"E[T] / T_s: {original:.4f} original, {folded:.4f} folded; total throughput × {original / folded:.3f}"
            )
        return "\n".join(lines)
