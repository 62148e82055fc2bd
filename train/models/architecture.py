"""The architecture of a run's network, in the paper's notation: that of the game, changed by the run's settings."""

from __future__ import annotations

from train.config.settings import Settings
from train.models.notation import align_widths, parse, scale_widths
from train.models.scaling import prepend_resize, scale_network


def resolve_architecture(settings: Settings, game_arch: str, size: tuple[int, int]) -> tuple[str, str]:
    """The `arch` and `pool` for crops of `size` (H, W), with `width`, `scaling` and `align` applied.

    Raises `UserError` for settings that are no architecture.
    """
    arch, pool = settings.model.arch or game_arch, settings.model.pool
    parse(arch, pool)
    if settings.width < 1:
        arch = scale_widths(arch, settings.width)
    if settings.scaling:
        arch, pool, scaled_size = scale_network(settings.scaling, arch, pool, size)
        arch = prepend_resize(arch, scaled_size)
    return (align_widths(arch, settings.align, settings.align_to) if settings.align else arch), pool
