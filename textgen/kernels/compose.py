"""Crops drawn in compiled code: styles are planned, then backgrounds, effects and letters laid over each other.

Every sample has streams of random numbers of its own (`textgen.kernels.philox`): one for its text, and for each try one
each for style, background, picture and degradation. Arithmetic is in float32 without reassociation, so that bytes do
not depend on the processor. Where a text goes, the crop, uint8 (H, W, 3), is taken apart into a planar canvas, float32
(3, H, W) in 0…255, because compilers vectorise that best.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from textgen.kernels import philox
from textgen.kernels.glyphs import FILL, FILL_H, INK_H, INK_W, LEFT, MASK_H, MASK_W, OUTER, SCALE, TOP
from textgen.kernels.jit import compiled
from textgen.kernels.program import write_text
from textgen.kernels.tables import (
    ABOVE,
    BELOW,
    BLUR_STEPS,
    BORDERS,
    GRADIENTS,
    GROUND,
    LEFT_SIDE,
    NO_SIDE,
    OK,
    OUTLINES,
    PANELS,
    PICTURE,
    PIECE,
    RIGHT_SIDE,
    SHADOWS,
    STREAMS,
    STYLE,
    TAP_FRACTIONS,
    TEXT,
    TEXTS,
    TOO_LARGE,
    TOO_SMALL,
)


@compiled
def plan(samples, codes, other_codes, keys, key, look, type_, program, others):
    """Draw text and style of every sample; `keys` (n, length + others' length) are the slots that it needs, or -1."""
    state = np.empty(philox.STATE, np.uint64)
    shape = (len(type_.heights), len(type_.strokes), len(type_.slants), type_.advances.shape[1])
    for k in range(len(samples)):
        s = samples[k]
        philox.start(state, key, s.index, TEXT)
        codes[k] = 0
        s.length = write_text(program, s.label, state, codes[k])
        philox.start(state, key, s.index, STYLE + STREAMS * s.attempt)
        s.face = type_.faces[philox.weighted(state, type_.bounds)]
        s.height = philox.below(state, shape[0])
        s.stroke = 0
        if philox.uniform(state) < look.outline_chance:
            s.stroke = 1 + philox.below(state, shape[1] - 1)
        s.slant = philox.below(state, shape[2])
        s.spacing = np.floor(philox.between(state, look.spacing[0], look.spacing[1]) * SCALE + 0.5) / SCALE
        s.x = philox.between(state, look.x[0], look.x[1])
        s.y = philox.between(state, look.y[0], look.y[1])
        s.side, s.other_length = NO_SIDE, 0
        other_codes[k] = 0
        if s.length and philox.uniform(state) < look.neighbour_chance:
            s.side = look.neighbour_sides[philox.below(state, len(look.neighbour_sides))]
            s.gap = philox.between(state, look.neighbour_gap[0], look.neighbour_gap[1])
            s.other_length = write_text(others, 0, state, other_codes[k])
        base = ((np.int64(s.face) * shape[0] + s.height) * shape[1] + s.stroke) * shape[2] + s.slant
        keys[k] = -1
        for j in range(s.length):
            keys[k, j] = base * shape[3] + codes[k, j]
        for j in range(s.other_length):
            keys[k, codes.shape[1] + j] = base * shape[3] + other_codes[k, j]


@compiled
def draw(samples, codes, other_codes, keys, key, look, type_, glyphs, ground, moves, images, fills):
    """Draw every sample: `images` uint8 (n, H, W, 3), and `fills` uint8 (n, H, W), the coverage of its strokes.

    `moves` (n, 2) shift the background behind the text, down and right in pixels: other frames of the same video.
    Sets status and box; a text that does not fit, or is too small, leaves its image as it was.
    """
    _, height, width, _ = images.shape
    state = np.empty(philox.STATE, np.uint64)
    pieces = np.empty(len(samples), PIECE)
    for k in range(len(samples)):
        philox.start(state, key, samples[k].index, GROUND + STREAMS * samples[k].attempt)
        _choose_piece(pieces[k], samples[k], state, ground, moves[k], height, width)
    canvas = np.empty((3, height, width), np.float32)
    outer = np.empty((height, width), np.uint8)
    scratch = np.empty((height, width), np.float32)
    tint = np.empty(3 * width, np.float32)
    soft = np.empty((height, width), np.float32)
    layers = np.zeros((2, 5))
    pens = np.empty(codes.shape[1], np.int64)
    other_pens = np.empty(other_codes.shape[1], np.int64)
    split = codes.shape[1]
    for k in range(len(samples)):
        if k + 1 < len(samples):
            _fetch(ground.pixels, pieces[k + 1], height, width)
        s = samples[k]
        philox.start(state, key, s.index, PICTURE + STREAMS * s.attempt)
        s.status = OK
        box = _lay_out(s, codes[k, : s.length], keys[k], type_, glyphs, pens)
        margin = np.int64(np.floor(look.margin * SCALE + 0.5))
        free_y = height * SCALE - (box[2] - box[0]) - 2 * margin
        free_x = width * SCALE - (box[3] - box[1]) - 2 * margin
        if box[2] > box[0]:
            if free_y < 0 or free_x < 0:
                s.status = TOO_LARGE
            elif not _large_enough(codes[k, : s.length], keys[k], type_, glyphs, look.least):
                s.status = TOO_SMALL
        if s.status != OK:
            continue
        _lay_ground(images[k], pieces[k], ground.pixels, tint)
        fill = fills[k]
        fill[:] = 0
        if box[2] > box[0]:
            baseline = margin + np.int64(np.floor(s.y * free_y + 0.5)) - box[0]
            pen = margin + np.int64(np.floor(s.x * free_x + 0.5)) - box[1]
            ink = (baseline + box[0], pen + box[1], baseline + box[2], pen + box[3])
            s.top, s.left = ink[0] // SCALE, ink[1] // SCALE
            s.bottom, s.right = -(-ink[2] // SCALE), -(-ink[3] // SCALE)
            if s.stroke:
                outer[:] = 0
            _set(fill, outer, keys[k, : s.length], pens, baseline, pen, glyphs, s.stroke > 0)
            area = (s.top, s.left, s.bottom, s.right)
            if s.other_length:
                other = _lay_out(s, other_codes[k, : s.other_length], keys[k, split:], type_, glyphs, other_pens)
                dy, dx = _beside(ink, other, s.side, s.gap * SCALE, s.side < ABOVE, baseline, philox.uniform(state))
                _set(fill, outer, keys[k, split : split + s.other_length], other_pens, dy, dx, glyphs, s.stroke > 0)
                area = (
                    max(min(area[0], (dy + other[0]) // SCALE), 0),
                    max(min(area[1], (dx + other[1]) // SCALE), 0),
                    min(max(area[2], -(-(dy + other[2]) // SCALE)), height),
                    min(max(area[3], -(-(dx + other[3]) // SCALE)), width),
                )
            padding, part = _choose_layers(layers, area, s, state, look, height, width)
            _take_apart(images[k], canvas, part)
            mask = outer if s.stroke else fill
            _paint_text(canvas, fill, mask, area, ink, padding, layers, s, state, look, scratch, soft)
            _put_together(canvas, images[k], part)
        else:
            s.top = s.left = s.bottom = s.right = 0


@compiled
def _take_apart(image, canvas, part):
    """A part (top, left, bottom, right) of `image` uint8 (H, W, 3) to the same of `canvas` float32 (3, H, W)."""
    top, left, bottom, right = part
    for y in range(top, bottom):
        line = image[y, left:right].reshape(3 * (right - left))
        red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
        for x in range(len(red)):
            red[x], green[x], blue[x] = (
                np.float32(line[3 * x]),
                np.float32(line[3 * x + 1]),
                np.float32(line[3 * x + 2]),
            )


@compiled
def _put_together(canvas, image, part):
    """The inverse of `_take_apart`, rounded."""
    top, left, bottom, right = part
    half = np.float32(0.5)
    for y in range(top, bottom):
        line = image[y, left:right].reshape(3 * (right - left))
        red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
        for x in range(len(red)):
            line[3 * x] = np.uint8(np.int32(red[x] + half))
            line[3 * x + 1] = np.uint8(np.int32(green[x] + half))
            line[3 * x + 2] = np.uint8(np.int32(blue[x] + half))


@compiled
def _blend(canvas, y, left, right, cover, share, color):
    """`color` laid over a row of `canvas` with opacity `cover` (right - left,) · `share`.

    Loops over whole slices are what compilers vectorise.
    """
    red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
    for x in range(len(cover)):
        opacity = np.float32(cover[x]) * share
        red[x] += opacity * (color[0] - red[x])
        green[x] += opacity * (color[1] - green[x])
        blue[x] += opacity * (color[2] - blue[x])


@compiled
def _lay_out(s, codes, keys, type_, glyphs, pens):
    """Where each letter's pen stands, in quarter pixels, and the ink's top, left, bottom and right from the first's."""
    em = np.floor(type_.heights[s.height] * type_.ems[s.face] * SCALE + 0.5)  # as the glyphs were drawn
    at, top, left, bottom, right = 0.0, 1 << 30, 1 << 30, -(1 << 30), -(1 << 30)
    for j in range(len(codes)):
        if j:
            at += type_.kerning[s.face, codes[j - 1], codes[j]] * em
        pens[j] = np.int64(np.floor(at + 0.5))
        glyph = glyphs.table[glyphs.slots[keys[j]]]
        if glyph[INK_H]:
            top, left = min(top, glyph[TOP]), min(left, pens[j] + glyph[LEFT])
            bottom = max(bottom, glyph[TOP] + glyph[INK_H])
            right = max(right, pens[j] + glyph[LEFT] + glyph[INK_W])
        at += type_.advances[s.face, codes[j]] * em + s.spacing * SCALE
    if bottom < top:
        return 0, 0, 0, 0
    return top, left, bottom, right


@compiled
def _large_enough(codes, keys, type_, glyphs, least):
    for j in range(len(codes)):
        if type_.measured[codes[j]] and glyphs.table[glyphs.slots[keys[j]], FILL_H] < least * SCALE:
            return False
    return True


@compiled
def _beside(ink, other, side, gap, on_line, baseline, share):
    """The shift, in quarter pixels, that puts the box `other` on a side of `ink`; on the same baseline if `on_line`,
    else `share` of the way between flush ends."""
    gap = np.int64(np.floor(gap + 0.5))
    dy, dx = baseline, ink[1] - other[1] + np.int64(np.floor(share * ((ink[3] - ink[1]) - (other[3] - other[1]))))
    if not on_line:
        dy = ink[0] - other[0] + np.int64(np.floor(share * ((ink[2] - ink[0]) - (other[2] - other[0]))))
    if side == LEFT_SIDE:
        dx = ink[1] - gap - other[3]
    elif side == RIGHT_SIDE:
        dx = ink[3] + gap - other[1]
    elif side == ABOVE:
        dy = ink[0] - gap - other[2]
    else:
        dy = ink[2] + gap - other[0]
    return dy, dx


@compiled
def _set(fill, outer, keys, pens, baseline, pen, glyphs, outlined):
    """Add the letters' masks to `fill` and, if `outlined`, to `outer`; what lies outside is cut off."""
    for j in range(len(keys)):
        glyph = glyphs.table[glyphs.slots[keys[j]]]
        if glyph[INK_H]:
            y, x = baseline + glyph[TOP], pen + pens[j] + glyph[LEFT]
            _add(fill, glyph[FILL], glyph, y, x, glyphs.pixels)
            if outlined:
                _add(outer, glyph[OUTER], glyph, y, x, glyphs.pixels)


@compiled
def _add(mask, offset, glyph, y, x, pixels):
    height, width = mask.shape
    h, w = np.int64(glyph[MASK_H]), np.int64(glyph[MASK_W])
    start = offset + ((y & (SCALE - 1)) * SCALE + (x & (SCALE - 1))) * h * w
    y, x = y >> 2, x >> 2  # SCALE is 4
    first, last = max(0, -x), min(w, width - x)
    if first >= last:
        return
    for row in range(max(0, -y), min(h, height - y)):
        at = start + row * w
        line = np.uint64(y + row)
        for column in range(first, last):  # too few for slices to be worth their making
            place = np.uint64(x + column)
            old, new = np.int32(mask[line, place]), np.int32(pixels[np.uint64(at + column)])
            both = old * new + 128
            mask[line, place] = np.uint8(old + new - ((both + (both >> 8)) >> 8))  # old·new / 255, rounded


@compiled
def _choose_piece(piece, s, state, ground, move, height, width):
    chosen = philox.weighted(state, ground.bounds)
    s.source = ground.usable[chosen]
    first, canvases, zooms, first_tint, tints = ground.sources[s.source]
    start, stop = ground.firsts[chosen], ground.firsts[chosen + 1]
    s.canvas = ground.canvases[start + philox.below(state, stop - start)]
    offset, h, w = ground.views[first + philox.below(state, zooms) * canvases + s.canvas]
    y = min(max(philox.below(state, h - height + 1) + move[0], 0), h - height)
    x = min(max(philox.below(state, w - width + 1) + move[1], 0), w - width)
    piece.at, piece.pitch = offset + 3 * (y * w + x), 3 * w
    piece.mirrored = philox.uniform(state) < 0.5
    piece.light = philox.between(state, ground.light[s.source, 0], ground.light[s.source, 1])
    opacity, tint = np.float32(0), ground.tints[0]
    if tints:
        opacity = np.float32(philox.between(state, ground.tint_opacity[s.source, 0], ground.tint_opacity[s.source, 1]))
        tint = ground.tints[first_tint + philox.below(state, tints)]
    piece.rest = np.float32(1) - opacity
    piece.red, piece.green, piece.blue = opacity * tint[0], opacity * tint[1], opacity * tint[2]


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask the processor for the byte of `array` at `index`, as a hint that changes nothing else."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer, number = builder.gep(data, [arguments[1]]), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(hint, [pointer, number(0), number(2), number(1)])  # to read, into the second cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@compiled
def _fetch(pixels, piece, height, width):
    """Have a piece brought to the cache while the sample before it is drawn: to wait for it would double the time."""
    for row in range(height):
        at = piece.at + row * piece.pitch
        for byte in range(0, 3 * width, 64):  # a line of the cache each
            _prefetch(pixels, at + byte)
        _prefetch(pixels, at + 3 * width - 1)


@compiled
def _lay_ground(image, piece, pixels, tint):
    """The piece of background, lit and tinted, as `image`. `tint` is float32 (3 * W,)."""
    height, width, _ = image.shape
    light, rest, full = np.float32(piece.light), np.float32(piece.rest), np.float32(255)
    half = np.float32(0.5)
    red, green, blue = piece.red + half, piece.green + half, piece.blue + half
    mirrored = piece.mirrored
    for x in range(width):
        tint[3 * x], tint[3 * x + 1], tint[3 * x + 2] = red, green, blue
    for row in range(height):
        at = piece.at + row * piece.pitch
        line, out = pixels[at : at + 3 * width], image[row].reshape(3 * width)
        if mirrored:
            for x in range(width):  # unsigned: numba tests no index for being negative, and it vectorises
                first = 3 * (width - 1 - x)
                one, two, three = line[np.uint64(first)], line[np.uint64(first + 1)], line[np.uint64(first + 2)]
                out[3 * x] = np.uint8(np.int32(min(np.float32(one) * light, full) * rest + red))
                out[3 * x + 1] = np.uint8(np.int32(min(np.float32(two) * light, full) * rest + green))
                out[3 * x + 2] = np.uint8(np.int32(min(np.float32(three) * light, full) * rest + blue))
        else:
            for x in range(3 * width):
                out[x] = np.uint8(np.int32(min(np.float32(line[x]) * light, full) * rest + tint[x]))


@compiled
def _choose_layers(layers, area, s, state, look, height, width):
    """Which of shadow and glow there are: `layers` (2, 5) holds on or off, shift down and right, blur, opacity.

    Returns the panel's padding, -1 for no panel, and the part of the crop that all of them and the text can change.
    """
    top, left, bottom, right = area
    for which in range(2):
        soft = look.soft[which]
        layers[which, 0] = philox.uniform(state) < soft[0]
        if layers[which, 0]:
            dy, dx = philox.between(state, soft[1], soft[2]), philox.between(state, soft[1], soft[2])
            blur = philox.between(state, soft[3], soft[4])
            layers[which, 1], layers[which, 2], layers[which, 3] = dy, dx, blur
            layers[which, 4] = philox.between(state, soft[5], soft[6])
            down, across, reach = np.int64(np.floor(dy)), np.int64(np.floor(dx)), np.int64(np.ceil(3 * blur)) + 2
            top, left = min(top, area[0] + down - reach), min(left, area[1] + across - reach)
            bottom, right = max(bottom, area[2] + down + reach), max(right, area[3] + across + reach)
    padding = np.int64(-1)
    if philox.uniform(state) < look.panel_chance:
        padding = np.int64(np.floor(philox.between(state, look.panel_padding[0], look.panel_padding[1]) + 0.5))
        top, left = min(top, s.top - padding), min(left, s.left - padding)
        bottom, right = max(bottom, s.bottom + padding), max(right, s.right + padding)
    if look.icon_chance > 0:  # it lies anywhere
        top, left, bottom, right = 0, 0, height, width
    return padding, (max(top, 0), max(left, 0), min(bottom, height), min(right, width))


@compiled
def _paint_text(canvas, fill, outer, area, ink, padding, layers, s, state, look, scratch, soft):
    """Panel, shadow, glow, outline, icon and fill, each over the last."""
    if padding >= 0:
        _paint_panel(canvas, padding, s, state, look)
    for which in range(2):
        if layers[which, 0]:
            _, dy, dx, blur, opacity = layers[which]
            color = _pick(look, SHADOWS + which, state)
            spread = _soften(outer, area, dy, dx, blur, look.taps, scratch, soft)
            for y in range(spread[0], spread[2]):
                _blend(canvas, y, spread[1], spread[3], soft[y, spread[1] : spread[3]], np.float32(opacity), color)
    top, left, bottom, right = area
    share = np.float32(1 / 255)
    if s.stroke:
        color = _pick(look, OUTLINES, state)
        for y in range(top, bottom):
            _blend(canvas, y, left, right, outer[y, left:right], share, color)
    if philox.uniform(state) < look.icon_chance:
        _paint_icon(canvas, ink, state, look)
    color = _jittered(_pick(look, TEXTS, state), state, look)
    s.red, s.green, s.blue = color
    end = color
    if philox.uniform(state) < look.gradient_chance:
        end = _pick(look, GRADIENTS, state)
    share = np.float32(philox.between(state, look.opacity[0], look.opacity[1]) / 255)
    for y in range(top, bottom):
        along = np.float32(min(max((y + 0.5 - s.top) / (s.bottom - s.top), 0.0), 1.0))
        tone = (
            color[0] + along * (end[0] - color[0]),
            color[1] + along * (end[1] - color[1]),
            color[2] + along * (end[2] - color[2]),
        )
        _blend(canvas, y, left, right, fill[y, left:right], share, tone)


@compiled
def _pick(look, palette, state):
    first, count = look.palettes[palette]
    row = look.colors[first + philox.below(state, count)]
    return row[0], row[1], row[2]


@compiled
def _jittered(color, state, look):
    jitter, low, high = np.float32(look.jitter), np.float32(0), np.float32(255)
    red = color[0] + jitter * look.normals[philox.below(state, len(look.normals))]
    green = color[1] + jitter * look.normals[philox.below(state, len(look.normals))]
    blue = color[2] + jitter * look.normals[philox.below(state, len(look.normals))]
    return min(max(red, low), high), min(max(green, low), high), min(max(blue, low), high)


@compiled
def _soften(mask, area, dy, dx, blur, taps, scratch, soft):
    """`mask` moved and blurred into `soft`, as opacity in 0…1. Returns the area that it now covers."""
    height, width = mask.shape
    level = min(np.int64(np.floor(blur * BLUR_STEPS + 0.5)), len(taps) - 1)
    whole_y, whole_x = np.int64(np.floor(dy)), np.int64(np.floor(dx))
    down = taps[level, min(np.int64((dy - whole_y) * TAP_FRACTIONS), TAP_FRACTIONS - 1)]
    across = taps[level, min(np.int64((dx - whole_x) * TAP_FRACTIONS), TAP_FRACTIONS - 1)]
    reach, (down_0, down_1), (across_0, across_1) = len(down) // 2, _extent(down), _extent(across)
    top, left, bottom, right = area
    y0, y1 = max(top + whole_y + down_0 - reach, 0), min(bottom + whole_y + down_1 - reach, height)
    x0, x1 = max(left + whole_x + across_0 - reach, 0), min(right + whole_x + across_1 - reach, width)
    share = np.float32(1 / 255)
    for y in range(y0, y1):
        out = scratch[y, left:right]
        out[:] = 0
        for tap in range(down_0, down_1):
            source = y - whole_y - (tap - reach)
            if top <= source < bottom:
                weight = down[tap] * share
                line = mask[source, left:right]
                for x in range(len(out)):
                    out[x] += weight * np.float32(line[x])
    for y in range(y0, y1):
        soft[y, x0:x1] = 0
        for tap in range(across_0, across_1):
            move = whole_x + tap - reach
            first, last = max(x0, left + move), min(x1, right + move)
            if first < last:
                weight = across[tap]
                out, line = soft[y, first:last], scratch[y, first - move : last - move]
                for x in range(len(out)):
                    out[x] += weight * line[x]
    return y0, x0, y1, x1


@compiled
def _extent(taps):
    """The first and one past the last tap that are not zero."""
    first, last = 0, len(taps)
    while taps[first] == 0:
        first += 1
    while taps[last - 1] == 0:
        last -= 1
    return first, last


@compiled
def _paint_panel(canvas, padding, s, state, look):
    _, height, width = canvas.shape
    opacity = np.float32(philox.between(state, look.panel_opacity[0], look.panel_opacity[1]))
    color = _pick(look, PANELS, state)
    bordered = look.palettes[BORDERS, 1] > 0
    edge = _pick(look, BORDERS, state) if bordered else color
    top, left, bottom, right = s.top - padding, s.left - padding, s.bottom + padding, s.right + padding
    for c in range(3):
        for y in range(max(top, 0), min(bottom, height)):
            for x in range(max(left, 0), min(right, width)):
                rim = bordered and (y == top or y == bottom - 1 or x == left or x == right - 1)
                canvas[c, y, x] += opacity * ((edge[c] if rim else color[c]) - canvas[c, y, x])


@compiled
def _paint_icon(canvas, ink, state, look):
    _, height, width = canvas.shape
    wanted = philox.between(state, look.icon_height[0], look.icon_height[1]) * (ink[2] - ink[0]) / SCALE
    sizes = look.icons[philox.below(state, len(look.icons))]
    best = 0
    for level in range(len(sizes)):
        if abs(sizes[level, 1] - wanted) < abs(sizes[best, 1] - wanted):
            best = level
    offset, h, w = sizes[best]
    side = look.icon_sides[philox.below(state, len(look.icon_sides))]
    gap = philox.between(state, look.icon_gap[0], look.icon_gap[1]) * SCALE
    y4, x4 = _beside(ink, (0, 0, h * SCALE, w * SCALE), side, gap, False, 0, 0.5)
    y0, x0 = y4 >> 2, x4 >> 2
    if side in (RIGHT_SIDE, BELOW):  # whole pixels, away from the text
        y0, x0 = -(-y4 >> 2), -(-x4 >> 2)
    share = np.float32(1 / 255)
    for y in range(max(0, -y0), min(h, height - y0)):
        for c in range(3):
            for x in range(max(0, -x0), min(w, width - x0)):
                over = np.float32(look.sprites[offset + (c * h + y) * w + x])
                alpha = np.float32(look.sprites[offset + (3 * h + y) * w + x]) * share
                canvas[c, y0 + y, x0 + x] += over - alpha * canvas[c, y0 + y, x0 + x]
