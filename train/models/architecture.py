"""The architecture of a run's network, in the paper's notation: that of the game, changed by the run's settings."""

from __future__ import annotations

from textgen.common.errors import UserError
from train.config.settings import Settings
from train.folding.own_module import OwnModule
from train.models.notation import Layer, align_widths, parse, scale_widths
from train.models.scaling import prepend_resize, scale_network


def resolve_network(settings: Settings, game_arch: str, size: tuple[int, int]) -> tuple[Layer, ...] | OwnModule:
    """The layers of a run's network, or the module that it is. Raises `UserError`."""
    if settings.network is not None and (own := settings.network.own):
        for option, value in (
            ("model.arch", settings.model.arch),
            ("scaling", settings.scaling),
            ("align", settings.align),
        ):
            if value:
                raise UserError(f"{option}={value} is for networks of the notation: leave it out for {own.name}")
        if settings.width < 1:
            raise UserError(f"width={settings.width} is for networks of the notation: give network.arguments.…")
        return own
    return parse(*resolve_architecture(settings, game_arch, size))


def resolve_architecture(settings: Settings, game_arch: str, size: tuple[int, int]) -> tuple[str, str]:
    """The `arch` and `pool` for crops of `size` (H, W), with `width`, `scaling` and `align` applied; "" for a module.

    Raises `UserError` for settings that are no architecture.
    """
    if settings.network is not None and settings.network.own:
        return "", ""
    arch, pool = settings.model.arch or game_arch, settings.model.pool
    parse(arch, pool)
    if settings.width < 1:
        arch = scale_widths(arch, settings.width)
    if settings.scaling:
        arch, pool, scaled_size = scale_network(settings.scaling, arch, pool, size)
        arch = prepend_resize(arch, scaled_size)
    return (align_widths(arch, settings.align, settings.align_to) if settings.align else arch), pool
