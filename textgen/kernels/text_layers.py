"""The layers of a text on the canvas, in compiled code: panel, shadow, glow, outline, icon and fill, in this order."""

from __future__ import annotations

import numpy as np

from textgen.kernels import philox
from textgen.kernels.canvas import blend
from textgen.kernels.glyphs import SCALE
from textgen.kernels.jit import compiled
from textgen.kernels.layout import place_beside
from textgen.kernels.tables import (
    BELOW,
    BLUR_STEPS,
    BORDER_COLORS,
    GRADIENT_COLORS,
    OUTLINE_COLORS,
    PANEL_COLORS,
    RIGHT_SIDE,
    SHADOW_COLORS,
    SHIFT_STEPS,
    TEXT_COLORS,
)


@compiled
def choose_layers(layers, area, sample, state, style, height, width):
    """Draw at random whether there are shadow, glow and panel, and their settings.

    `layers` (2, 5) holds for shadow and glow: on or off, shift down and right, blur, opacity. Returns the padding of
    the panel, -1 for no panel, and the part of the crop that the text and all its layers can change.
    """
    top, left, bottom, right = area
    for which in range(2):
        ranges = style.shadow_and_glow[which]
        layers[which, 0] = philox.uniform(state) < ranges[0]
        if layers[which, 0]:
            dy, dx = philox.between(state, ranges[1], ranges[2]), philox.between(state, ranges[1], ranges[2])
            blur = philox.between(state, ranges[3], ranges[4])
            layers[which, 1], layers[which, 2], layers[which, 3] = dy, dx, blur
            layers[which, 4] = philox.between(state, ranges[5], ranges[6])
            down, across, reach = np.int64(np.floor(dy)), np.int64(np.floor(dx)), np.int64(np.ceil(3 * blur)) + 2
            top, left = min(top, area[0] + down - reach), min(left, area[1] + across - reach)
            bottom, right = max(bottom, area[2] + down + reach), max(right, area[3] + across + reach)
    padding = np.int64(-1)
    if philox.uniform(state) < style.panel_chance:
        padding = np.int64(np.floor(philox.between(state, style.panel_padding[0], style.panel_padding[1]) + 0.5))
        top, left = min(top, sample.top - padding), min(left, sample.left - padding)
        bottom, right = max(bottom, sample.bottom + padding), max(right, sample.right + padding)
    if style.icon_chance > 0:  # it can be anywhere
        top, left, bottom, right = 0, 0, height, width
    return padding, (max(top, 0), max(left, 0), min(bottom, height), min(right, width))


@compiled
def choose_inline_icons(icons, sample, parts, state, style, letters):
    """Set offset, height and width of the picture of every letter that is drawn as one in `icons` (n, 3), else 0."""
    table = style.parts
    for j in range(sample.length):
        icons[j] = 0
        first, count = table.icons[parts[j]]
        if count:
            sizes = style.icons[first + philox.below(state, count)]
            icons[j] = sizes[_find_icon_level(sizes, letters.heights[sample.height] * table.sizes[parts[j]])]


@compiled
def draw_inline_icons(canvas, icons, pens, drops, baseline, pen, style):
    """Draw the pictures among the letters on whole pixels."""
    for j in range(len(icons)):
        if icons[j, 1]:
            y, x = baseline + drops[j] - icons[j, 1] * SCALE, pen + pens[j]
            _draw_picture(canvas, icons[j], (y + SCALE // 2) >> 2, (x + SCALE // 2) >> 2, style.icon_planes)


@compiled
def draw_layers(canvas, fills, outer, area, ink, padding, layers, sample, state, style, scratch, blurred):
    """Draw panel, shadow, glow, outline, icon and fill over each other.

    `fills` uint8 (groups, H, W) and `outer` (H, W) are the coverage of the fill of each group, and of all with outline,
    zero outside of `area`; `ink` is the box of the text in quarter pixels. `scratch` and `blurred`, float32 (H, W), are
    scratch memory.
    """
    if padding >= 0:
        _draw_panel(canvas, padding, sample, state, style)
    for which in range(2):
        if layers[which, 0]:
            _, dy, dx, blur, opacity = layers[which]
            color = _choose_color(style, SHADOW_COLORS + which, state)
            spread = _shift_and_blur(outer, area, dy, dx, blur, style.blur_filters, scratch, blurred)
            for y in range(spread[0], spread[2]):
                blend(canvas, y, spread[1], spread[3], blurred[y, spread[1] : spread[3]], np.float32(opacity), color)
    top, left, bottom, right = area
    factor = np.float32(1 / 255)
    if sample.stroke:
        color = _choose_color(style, OUTLINE_COLORS, state)
        for y in range(top, bottom):
            blend(canvas, y, left, right, outer[y, left:right], factor, color)
    if philox.uniform(state) < style.icon_chance:
        _draw_icon(canvas, ink, state, style)
    color = _jitter_color(_choose_color(style, TEXT_COLORS, state), state, style)
    sample.red, sample.green, sample.blue = color
    end = color
    graded = philox.uniform(state) < style.gradient_chance
    if graded:
        end = _choose_color(style, GRADIENT_COLORS, state)
    factor = np.float32(philox.between(state, style.opacity[0], style.opacity[1]) / 255)
    for group in range(len(fills)):
        if group:
            color = _jitter_color(_choose_row(style, style.parts.palettes[group], state), state, style)
            end = end if graded else color
        fill = fills[group]
        for y in range(top, bottom):
            along = np.float32(min(max((y + 0.5 - sample.top) / (sample.bottom - sample.top), 0.0), 1.0))
            tone = (
                color[0] + along * (end[0] - color[0]),
                color[1] + along * (end[1] - color[1]),
                color[2] + along * (end[2] - color[2]),
            )
            blend(canvas, y, left, right, fill[y, left:right], factor, tone)


@compiled
def _choose_color(style, palette, state):
    return _choose_row(style, style.palettes[palette], state)


@compiled
def _choose_row(style, rows, state):
    first, count = rows
    row = style.colors[first + philox.below(state, count)]
    return row[0], row[1], row[2]


@compiled
def _jitter_color(color, state, style):
    jitter, low, high = np.float32(style.color_jitter), np.float32(0), np.float32(255)
    red = color[0] + jitter * style.normals[philox.below(state, len(style.normals))]
    green = color[1] + jitter * style.normals[philox.below(state, len(style.normals))]
    blue = color[2] + jitter * style.normals[philox.below(state, len(style.normals))]
    return min(max(red, low), high), min(max(green, low), high), min(max(blue, low), high)


@compiled
def _shift_and_blur(mask, area, dy, dx, blur, filters, scratch, blurred):
    """Shift and blur `mask` into `blurred`, as opacity in 0…1. Returns the area that it now covers."""
    height, width = mask.shape
    level = min(np.int64(np.floor(blur * BLUR_STEPS + 0.5)), len(filters) - 1)
    whole_y, whole_x = np.int64(np.floor(dy)), np.int64(np.floor(dx))
    down = filters[level, min(np.int64((dy - whole_y) * SHIFT_STEPS), SHIFT_STEPS - 1)]
    across = filters[level, min(np.int64((dx - whole_x) * SHIFT_STEPS), SHIFT_STEPS - 1)]
    reach, (down_0, down_1), (across_0, across_1) = len(down) // 2, _find_extent(down), _find_extent(across)
    top, left, bottom, right = area
    y0, y1 = max(top + whole_y + down_0 - reach, 0), min(bottom + whole_y + down_1 - reach, height)
    x0, x1 = max(left + whole_x + across_0 - reach, 0), min(right + whole_x + across_1 - reach, width)
    factor = np.float32(1 / 255)
    for y in range(y0, y1):
        out = scratch[y, left:right]
        out[:] = 0
        for tap in range(down_0, down_1):
            source = y - whole_y - (tap - reach)
            if top <= source < bottom:
                weight = down[tap] * factor
                line = mask[source, left:right]
                for x in range(len(out)):
                    out[x] += weight * np.float32(line[x])
    for y in range(y0, y1):
        blurred[y, x0:x1] = 0
        for tap in range(across_0, across_1):
            move = whole_x + tap - reach
            first, last = max(x0, left + move), min(x1, right + move)
            if first < last:
                weight = across[tap]
                out, line = blurred[y, first:last], scratch[y, first - move : last - move]
                for x in range(len(out)):
                    out[x] += weight * line[x]
    return y0, x0, y1, x1


@compiled
def _find_extent(taps):
    """The first and one past the last tap that are not zero."""
    first, last = 0, len(taps)
    while taps[first] == 0:
        first += 1
    while taps[last - 1] == 0:
        last -= 1
    return first, last


@compiled
def _draw_panel(canvas, padding, sample, state, style):
    """Draw a rectangle `padding` pixels larger than the text on each side, with a border of one pixel if it has one."""
    _, height, width = canvas.shape
    opacity = np.float32(philox.between(state, style.panel_opacity[0], style.panel_opacity[1]))
    color = _choose_color(style, PANEL_COLORS, state)
    bordered = style.palettes[BORDER_COLORS, 1] > 0
    edge = _choose_color(style, BORDER_COLORS, state) if bordered else color
    top, left = sample.top - padding, sample.left - padding
    bottom, right = sample.bottom + padding, sample.right + padding
    for c in range(3):
        for y in range(max(top, 0), min(bottom, height)):
            for x in range(max(left, 0), min(right, width)):
                rim = bordered and (y == top or y == bottom - 1 or x == left or x == right - 1)
                canvas[c, y, x] += opacity * ((edge[c] if rim else color[c]) - canvas[c, y, x])


@compiled
def _draw_icon(canvas, ink, state, style):
    """Draw a random icon at the stored height nearest to the one wanted, on a whole pixel."""
    wanted = philox.between(state, style.icon_height[0], style.icon_height[1]) * (ink[2] - ink[0]) / SCALE
    sizes = style.icons[philox.below(state, style.icon_count)]
    icon = sizes[_find_icon_level(sizes, wanted)]
    _, h, w = icon
    side = style.icon_sides[philox.below(state, len(style.icon_sides))]
    gap = philox.between(state, style.icon_gap[0], style.icon_gap[1]) * SCALE
    y4, x4 = place_beside(ink, (0, 0, h * SCALE, w * SCALE), side, gap, False, 0, 0.5)
    y0, x0 = y4 >> 2, x4 >> 2
    if side in (RIGHT_SIDE, BELOW):  # round away from the text
        y0, x0 = -(-y4 >> 2), -(-x4 >> 2)
    _draw_picture(canvas, icon, y0, x0, style.icon_planes)


@compiled
def _find_icon_level(sizes, wanted):
    """The row of `sizes` (heights, 3) whose height is nearest to `wanted` pixels."""
    best = 0
    for level in range(len(sizes)):
        if abs(sizes[level, 1] - wanted) < abs(sizes[best, 1] - wanted):
            best = level
    return best


@compiled
def _draw_picture(canvas, icon, y0, x0, planes):
    """Draw the picture `icon` (offset, height, width) with its corner at (y0, x0), cut off at the edges."""
    _, height, width = canvas.shape
    offset, h, w = icon
    factor = np.float32(1 / 255)
    for y in range(max(0, -y0), min(h, height - y0)):
        for c in range(3):
            for x in range(max(0, -x0), min(w, width - x0)):
                over = np.float32(planes[offset + (c * h + y) * w + x])
                alpha = np.float32(planes[offset + (3 * h + y) * w + x]) * factor
                canvas[c, y0 + y, x0 + x] += over - alpha * canvas[c, y0 + y, x0 + x]
