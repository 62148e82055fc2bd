"""Random and damaged input for foldtext, in a process of its own: what it may break, breaks this one.

    python tests/fuzz_child.py KIND FIRST LAST FOLDER

runs the cases FIRST to LAST - 1 of a kind, each of which follows from its number alone, with FOLDER for its files. It
prints a line `start NUMBER` before a case, and after it `end NUMBER SECONDS OUTCOME`, where the outcome is "ok", the
"refused: …" of a `UserError`, or the "FAILED: …" of anything else.
"""

import json
import os
import re
import resource
import shutil
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from textgen.assets import backgrounds as backgrounds_module  # noqa: E402
from textgen.assets import icons as icons_module  # noqa: E402
from textgen.assets.fonts import load_faces, open_face  # noqa: E402
from textgen.common.errors import UserError  # noqa: E402
from textgen.common.validation import validate  # noqa: E402
from textgen.dataset.store import FORMAT, SplitWriter, open_dataset  # noqa: E402
from textgen.kernels import philox  # noqa: E402
from textgen.kernels.text_program import build_alphabet, compile_spec, decode_texts, write_text  # noqa: E402
from textgen.render.renderer import Renderer  # noqa: E402
from textgen.schema.augment import Augment  # noqa: E402
from textgen.schema.game import Game  # noqa: E402
from textgen.spec.parser import Spec  # noqa: E402

Rng = np.random.Generator
MEMORY = 2 << 30  # of address space, beyond what the libraries take


def pick(rng: Rng, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def between(rng: Rng, low: float, high: float, most: float = 1.0) -> list[float]:
    """A range within `low` and `high`: an end, a point, the whole, or anything. `most` is how far up it mostly is."""
    kind = rng.random()
    if kind < 0.1:
        return list(pick(rng, [low, low], [high, high], [low, high]))
    top = low + (high - low) * (1.0 if kind < 0.2 else most)
    ends = sorted(float(value) for value in rng.uniform(low, top, 2))
    return [ends[0], ends[0]] if rng.random() < 0.2 else ends


def whole(rng: Rng, low: int, high: int) -> list[int]:
    return sorted(int(value) for value in rng.integers(low, high + 1, 2))


def colors(rng: Rng, least: int = 1) -> list[str]:
    return [pick(rng, "#000000", "#ffffff", f"#{rng.integers(1 << 24):06x}") for _ in range(rng.integers(least, 4))]


def chance(rng: Rng) -> float:
    return float(pick(rng, 1, 1, 0.5, 0, rng.random()))


# ---- Games and streams.

SPECS: list[dict[str, Any]] = [
    {"spec": "X", "label": "X"},
    {"spec": "XY.Zk", "label": "Z"},
    {"spec": "N/M", "label": "N", "fields": {"N": "0..30", "M": "0..120"}},
    {"spec": "N:MM[ left]", "label": "N", "fields": {"N": ["0..2", "00"]}, "other": ["", "N.MM", "--:--"]},
    {"spec": "T  N", "label": "T", "fields": {"T": ["GOLD", "SILVER", "-", "jg"], "N": ["I", "II", "."]}},
    {"spec": "NNNNNNNNNNNNNNNNNNNNNNNNX", "label": "X"},
    {"spec": "A", "label": "A", "fields": {"A": [".", "-", "'", "|"]}},
    {"spec": "A[ ]", "label": "A", "fields": {"A": ["a", "  ", "\u00a0b"]}, "other": [" ", ""]},
    {"spec": "N[k][ of MM[ left]:.9]:0.2", "label": "N", "other": {"": 3, "--": 1e-3}},
    {"spec": "0123456789 " * 15 + "X", "label": "X"},
]
FONTS = (["oswald"], ["teko", "rajdhani"], ["condensed"], ["oswald-variable"], ["caveat-brush", "teko-variable"])
SIDES = ("left", "right", "above", "below")
EDGES = (8, 9, 13, 16, 17, 22, 30, 52, 64, 101)


def sides(rng: Rng) -> list[str]:
    return [pick(rng, *SIDES) for _ in range(rng.integers(1, 5))]


def text_of(rng: Rng, size: list[int], letters: int, folder: Path) -> dict[str, Any]:
    room = min(size[0], pick(rng, 1, 1.5, 2) * size[1] / letters) if rng.random() < 0.8 else size[0]
    height = between(rng, 4, max(5, room), 0.8) if rng.random() < 0.95 else between(rng, 4, 2.2 * size[0])
    height = [min(end, 256.0) for end in height]
    text: dict[str, Any] = {
        "fonts": list(pick(rng, *FONTS)),
        "height": height,
        "contrast": pick(rng, *[0] * 15, 18, 200),
    }
    if rng.random() < 0.2:
        text["fonts"] = {name: pick(rng, 1, 1, 1e-6, 1e6) for name in ("oswald", "teko", "teko-variable")}
    if rng.random() < 0.5 and any("variable" in name for name in text["fonts"]):
        text["axes"] = {"wght": between(rng, 1, 1000), "wdth": [-1e9, 1e9]}
    optional: dict[str, Callable[[], Any]] = {
        "colors": lambda: colors(rng),
        "color_jitter": lambda: pick(rng, 0, 255, 20.5),
        "opacity": lambda: between(rng, 0, 1),
        "spacing": lambda: between(rng, -4, 64, 0.06),
        "kerning": lambda: pick(rng, True, False),
        "slant": lambda: pick(rng, [-45, 45], [45, 45], [-45, -45], between(rng, -45, 45)),
        "x": lambda: between(rng, 0, 1),
        "y": lambda: between(rng, 0, 1),
        "margin": lambda: pick(rng, 0, 0, 0, 0.1, 1, 1, 1, 2.3, 2.3, 64),
        "least": lambda: pick(rng, 0, 0, 0, 0, 0, 0, 0, 3, 256),
        "gradient": lambda: {"chance": chance(rng), "colors": colors(rng)},
        "outline": lambda: {
            "chance": chance(rng),
            "width": between(rng, 0, 16, 0.06),
            "colors": colors(rng),
        },
        "shadow": lambda: {
            "chance": chance(rng),
            "offset": between(rng, 0, 256, 0.05),
            "blur": between(rng, 0, 16),
            "opacity": between(rng, 0, 1),
        },
        "glow": lambda: {"chance": chance(rng), "blur": between(rng, 0, 16), "opacity": between(rng, 0, 1)},
        "panel": lambda: {
            "chance": chance(rng),
            "padding": between(rng, 0, 256, 0.1),
            "colors": colors(rng),
            "border": colors(rng, 0),
        },
        "icon": lambda: {
            "chance": chance(rng),
            "source": pick(
                rng, ["coin"], ["clock", "heart", "star"], [icons(rng, folder)], ["coin", icons(rng, folder)]
            ),
            "sides": sides(rng),
            "gap": between(rng, 0, 256, 0.05),
            "height": between(rng, 1e-6, 8, 0.3),
        },
        "neighbour": lambda: {
            "chance": chance(rng),
            "texts": pick(rng, "7", "HP", ["", " ", "1:2"], "0123456789" * 15, {"N": 1, "[k]": 2.5}),
            "sides": sides(rng),
            "gap": between(rng, 0, 256, 0.05),
        },
    }
    share = rng.random()
    text.update({key: make() for key, make in optional.items() if rng.random() < share})
    return text


def icons(rng: Rng, folder: Path) -> str:
    """A folder of an icon of any shape."""
    shutil.rmtree(folder / "icons", ignore_errors=True)
    (folder / "icons").mkdir(parents=True)
    width, height = pick(rng, (1, 1), (1, 8), (8, 1), (1, 300), (40, 30), (40, 30), (24, 3), (3, 24), (7, 7))
    Image.new(pick(rng, "RGBA", "RGB", "L", "1", "P"), (width, height)).save(folder / "icons" / "icon.png")
    return f"{folder}/icons/"


def picture(rng: Rng, folder: Path) -> str:
    """A folder of a background of any shape."""
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    height, width = pick(
        rng, (8, 8), (101, 3000), (3000, 101), (512, 512), (512, 512), (513, 600), (100, 150), (30, 31)
    )
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "pictures" / "picture.png")
    return f"{folder}/pictures/"


def game_of(rng: Rng, folder: Path) -> dict[str, Any]:
    """A game with values from all over what is allowed."""
    size = [int(pick(rng, *EDGES)) for _ in range(2)]
    if rng.random() < 0.04:
        size[int(rng.integers(2))] = int(pick(rng, 511, 512, 300))
    spec = deepcopy(pick(rng, *SPECS[:4] * 3, *SPECS))
    backgrounds = []
    for _ in range(rng.integers(1, 3)):
        source = pick(rng, "scene", "noise", "gradient", "panel", "es_canyon_lake", picture(rng, folder))
        backgrounds.append(
            {
                "source": source,
                "weight": float(pick(rng, 1, 1, 1e-6, 1e6)),
                "zoom": between(rng, 0.25, 32) if rng.random() < 0.5 else between(rng, 1, 2),
                "light": pick(rng, [0, 0], [0.7, 1.2], [0, 255], [255, 255], between(rng, 0, 255)),
                "tint": colors(rng, 0),
                "tint_opacity": between(rng, 0, 1),
            }
        )
    return {
        "name": "fuzz",
        **spec,
        "size": size,
        "images": {"train": 1, "val": 1, "test": 1},
        "text": text_of(rng, size, len(spec["spec"]), folder),
        "backgrounds": backgrounds,
    }


def stream_of(rng: Rng) -> dict[str, Any]:
    """A stream with values from all over what is allowed."""
    optional: dict[str, Callable[[], Any]] = {
        "resize": lambda: {"chance": chance(rng), "scale": between(rng, 0.1, 1)},
        "blur": lambda: {"chance": chance(rng), "sigma": between(rng, 0, 16, 0.1)},
        "light": lambda: {"chance": chance(rng), "brightness": chance(rng), "contrast": chance(rng)},
        "noise": lambda: {"chance": chance(rng), "deviation": between(rng, 0, 255, 0.1)},
        "chroma": lambda: {"chance": chance(rng)},
        "jpeg": lambda: {"chance": chance(rng), "quality": whole(rng, 1, 100)},
    }
    stream = {key: make() for key, make in optional.items() if rng.random() < 0.4}
    if rng.random() < 0.1:
        frames, preset = int(pick(rng, 1, 3, 9)), pick(rng, "ultrafast", "veryfast", "fast")
        stream["h264"] = {"chance": 0.3, "crf": whole(rng, 0, 51), "frames": frames, "preset": preset}
    if rng.random() < 0.05:
        stream["transforms"] = [{"name": "GaussianBlur", "p": 1.0}]
    return stream


ANYTHING: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**6, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e308),
    *(float("inf"), float("-inf"), float("nan"), "", "x", "12", "#ffffff", "0..20", "\ud800", "a\nb"),
    *([], [[]], [1], [1, 2], [2, 1], [0.5, 0.25, 1], ["a", "b"], [None], {}, {"a": 1}, {1: 2}, {"chance": 0.5}),
)


def keys_of(config: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    return [(*path, key) for key, _ in inner] + [more for key, value in inner for more in keys_of(value, (*path, key))]


def spoil(rng: Rng, config: dict[str, Any]) -> None:
    """Set a random key to anything, remove it, or misspell it."""
    *steps, last = pick(rng, *keys_of(config))
    inner: Any = config
    for step in steps:
        inner = inner[step]
    kind = rng.random()
    if kind < 0.7:
        inner[last] = deepcopy(pick(rng, *ANYTHING))
    elif isinstance(inner, dict):
        value = inner.pop(last)
        if kind < 0.85:
            inner[f"{last}x"] = value


def run_game(number: int, folder: Path) -> None:
    rng = np.random.default_rng([3, number])
    config, stream = game_of(rng, folder), stream_of(rng) if rng.random() < 0.6 else {}
    count = int(rng.integers(1, 25 if max(config["size"]) < 200 else 4))
    if rng.random() < 0.15:
        spoil(rng, pick(rng, config, config, stream or config))
    game = Game.from_config(config)
    renderer = Renderer(game, number, validate(Augment, stream, "augment"))
    crops = renderer.render("train", range(count))
    assert crops.images.shape == (count, *game.size, 3)
    assert crops.images.dtype == np.uint8
    for at, text in enumerate(crops.texts):
        assert renderer.spec.label_of(text) == renderer.classes[at % len(renderer.classes)]
        assert crops.labels[at] == at % len(renderer.classes)
    boxes = crops.samples[["top", "left", "bottom", "right"]].tolist()
    for top, left, bottom, right in boxes:
        assert 0 <= top <= bottom <= game.size[0]
        assert 0 <= left <= right <= game.size[1]


# ---- Specs.

ALPHABET = tuple(
    "[]" * 6 + "\\:." * 4 + "0123456789" + "XYZNMAB" * 3 + "k/- ,é中\u0301\u200b\U0001f600\ud800\n\0\u2028"
)
WORDS = ("[k]", "]:0.2", ":.5", ":0.0", "\\\\", "\\X", "XX", "NNN", "MM", "[", "]", "0..20", "00..59", "other", "")
RANGES = (
    *("0..20", "00..59", "0..9", "5..1", "00..5", "0..99999", "0..100000", "0..999999999999999999", "..", "0...9"),
    *(
        "a",
        "ab",
        "b",
        "12",
        "1",
        "0",
        "00",
        "GOLD",
        "",
        "other",
        "中",
        "x" * 250,
        "1..1",
        "-1..5",
        "a..z",
        "\n",
        "0..2000",
    ),
)
WEIGHTS = (*ANYTHING, 1, 2, 3.5, 0.1, 1e-308, 5e-324, 1.7e308)
LABELS = ("X", "N", "Z", "M", "A", "", "x", "XX", None, 3, ["X"], True)


def known_specs() -> list[dict[str, Any]]:
    """Those of the games and of the documentation."""
    page = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    files = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "conf" / "game").glob("*.yaml"))]
    found = [yaml.safe_load(text) for text in (*blocks, *files)]
    known = [{key: one[key] for key in ("spec", "label", "fields", "other") if key in one} for one in found]
    return [one for one in known if "spec" in one and "label" in one]


def mutated(rng: Rng, text: str) -> str:
    for _ in range(rng.integers(1, 4)):
        at, other = sorted(int(place) for place in rng.integers(0, len(text) + 1, 2))
        kind = int(rng.integers(5))
        part = text[at : min(other, at + 5)]
        if kind == 0:
            text = text[:at] + pick(rng, *ALPHABET, *WORDS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + 1 :]
        elif kind == 2:
            text = text[:other] + part * int(rng.integers(1, 4)) + text[other:]
        elif kind == 3:
            text = text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]
        else:
            text = text[:at] + pick(rng, *ALPHABET) + text[at + 1 :]
    return text


def anything(rng: Rng, depth: int = 0) -> Any:
    """A value as YAML gives it, mostly one that stands for texts."""
    kind = rng.random()
    if kind < 0.5 or depth > 2:
        return pick(rng, *RANGES)
    if kind < 0.6:
        return deepcopy(pick(rng, *ANYTHING))
    if kind < 0.8:
        return [anything(rng, depth + 1) for _ in range(rng.integers(0, 4))]
    keys = [pick(rng, *RANGES, *RANGES, 1, None, True, 0.5) for _ in range(rng.integers(0, 4))]
    return {key: pick(rng, *WEIGHTS, 1, 1, 2, 0.5) if rng.random() < 0.5 else 1 for key in keys}


def spec_of(rng: Rng, known: list[dict[str, Any]]) -> dict[str, Any]:
    kind = rng.random()
    if kind < 0.35:
        length = int(rng.integers(0, pick(rng, 4, 8, 16, 40, 250)))
        made: dict[str, Any] = {"spec": "".join(pick(rng, *ALPHABET) for _ in range(length))}
        letters = [char for char in made["spec"] if char.isupper()]
        made["label"] = pick(rng, *letters) if letters and rng.random() < 0.8 else pick(rng, *LABELS)
    else:
        made = deepcopy(pick(rng, *known))
        if kind < 0.75 and isinstance(made["spec"], str):
            made["spec"] = mutated(rng, made["spec"])
    if rng.random() < 0.3:
        letters = [char for char in str(made["spec"]) if "A" <= char <= "Z"] or ["X"]
        names = [
            pick(rng, *letters) if rng.random() < 0.9 else pick(rng, "N", "Q", "x", "XX", 1, None) for _ in range(3)
        ]
        made["fields"] = {name: anything(rng) for name in names[: int(rng.integers(1, 4))]}
        if rng.random() < 0.03:
            made["fields"] = anything(rng)
    if rng.random() < 0.25:
        made["other"] = mutated(rng, pick(rng, str(made["spec"]), "", "--")) if rng.random() < 0.5 else anything(rng)
    if rng.random() < 0.05:
        made[pick(rng, "spec", "label", "fields", "other")] = deepcopy(pick(rng, *ANYTHING, *LABELS))
    return made


KNOWN: list[dict[str, Any]] = []


def run_spec(number: int, folder: Path) -> None:
    """A spec is refused, or all that it draws is read as what it was drawn for."""
    if not KNOWN:
        KNOWN.extend(known_specs())
    rng = np.random.default_rng([1, number])
    made = spec_of(rng, KNOWN)
    spec = Spec.parse(made["spec"], label=made["label"], fields=made.get("fields"), other=made.get("other", ""))
    assert len(set(spec.classes)) == len(spec.classes)
    count = len(spec.classes)
    labels = sorted({0, count - 1, *rng.integers(0, count, 2).tolist()})
    for label in labels:
        text = spec.sample(spec.classes[label], rng)
        assert spec.label_of(text) == spec.classes[label]
        assert spec.characters >= set(text)
    alphabet = build_alphabet(spec.characters)
    program = compile_spec(spec, alphabet)
    codes, state = np.zeros((len(labels), program.max_length), np.uint16), np.zeros(philox.STATE, np.uint64)
    for row, label in enumerate(labels):
        philox.start(state, 0, number, row)
        length = write_text(
            program, label, state, codes[row], np.zeros(program.max_length, np.uint8), np.empty(0, np.int32)
        )
        assert length <= program.max_length
    for label, text in zip(labels, decode_texts(codes, alphabet), strict=True):
        assert spec.label_of(text) == spec.classes[label]


# ---- Damaged files.

FILES = (
    *("oswald/oswald-500.ttf", "bebas-neue/bebas-neue-400.ttf", "caveat-brush/caveat-brush-400.ttf"),
    *("teko/teko-500.ttf", "roboto-condensed/roboto-condensed-700.ttf", "antonio/antonio-500.ttf"),
)
VARIABLE = ("oswald-variable", "teko-variable", "archivo-variable")
DIGITS = frozenset("0123456789")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(rng: Rng, data: bytes) -> bytes:
    """The bytes with some flipped, set to an extreme, zeroed, moved, repeated or cut off, wherever they are."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind, at = rng.random(), int(rng.integers(max(len(out), 1)))
        if rng.random() < 0.5:
            at = int(rng.integers(min(len(out), 600) + 1))  # where headers are
        length = int(rng.integers(1, 200))
        if kind < 0.4:
            for place in rng.integers(at, max(min(at + 1000, len(out)), at + 1), rng.integers(1, 9)).tolist():
                if place < len(out):
                    out[place] ^= 1 << int(rng.integers(8))
        elif kind < 0.7:
            width = pick(rng, 1, 2, 4)
            out[at : at + width] = (pick(rng, *EXTREMES) & ((1 << 8 * width) - 1)).to_bytes(
                width, pick(rng, "big", "little")
            )
        elif kind < 0.78:
            out[at : at + length] = bytes(len(out[at : at + length]))
        elif kind < 0.84:
            del out[at : at + length]
        elif kind < 0.9:
            out[at:at] = out[at : at + length] * int(rng.integers(1, 4))
        elif kind < 0.95:
            other = int(rng.integers(max(len(out), 1)))
            out[at : at + length] = out[other : other + length]
        else:
            del out[at:]
    return bytes(out)


def tables(data: bytes) -> list[tuple[int, bytes, int, int]]:
    """Of a font: where a table's entry in the directory stands, its tag, offset and length."""
    count = struct.unpack(">H", data[4:6])[0]
    entries = [
        (12 + 16 * number, *struct.unpack(">4sIII", data[12 + 16 * number : 28 + 16 * number]))
        for number in range(count)
    ]
    return [(at, tag, offset, length) for at, tag, _, offset, length in entries]


def damaged_font(rng: Rng, data: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.15:
        return damaged(rng, data)
    out, found = bytearray(data), tables(data)
    wanted = pick(
        rng,
        None,
        b"head",
        b"maxp",
        b"cmap",
        b"loca",
        b"hhea",
        b"hmtx",
        b"glyf",
        b"fvar",
        b"gvar",
        b"GPOS",
        b"HVAR",
        b"avar",
        b"fpgm",
        b"prep",
    )
    for _ in range(rng.integers(1, 4)):
        chosen = [entry for entry in found if entry[1] == wanted] or [pick(rng, *found)]
        entry, _, offset, length = chosen[0]
        if kind < 0.3:  # the directory
            place = entry + 4 * int(rng.integers(4))
            other = pick(rng, *found)
            value = pick(rng, *EXTREMES, len(data), len(data) - 1, other[2], other[3], int(rng.integers(1 << 32)))
            out[place : place + 4] = value.to_bytes(4, "big")
        elif kind < 0.4:  # two tables change places
            other = pick(rng, *found)[0]
            out[entry + 8 : entry + 16], out[other + 8 : other + 16] = (
                out[other + 8 : other + 16],
                out[entry + 8 : entry + 16],
            )
        elif kind < 0.8:  # a number within a table, mostly in its header
            place = offset + int(rng.integers(max(min(length, pick(rng, 20, 60, length)), 1)))
            width = pick(rng, 1, 2, 2, 4)
            if rng.random() < 0.8:
                place -= (place - offset) % width
            value = pick(rng, *EXTREMES, int(rng.integers(1 << 32))) & ((1 << 8 * width) - 1)
            out[place : place + width] = value.to_bytes(width, "big")
        elif kind < 0.9:
            start = offset + int(rng.integers(max(length, 1)))
            stop = min(start + int(rng.integers(1, 400)), offset + length)
            out[start:stop] = bytes(stop - start)
        else:
            start = offset + int(rng.integers(max(length, 1)))
            stop = min(start + int(rng.integers(1, 40)), offset + length)
            out[start:stop] = rng.integers(0, 256, stop - start, np.uint8).tobytes()
    return bytes(out)


def run_font(number: int, folder: Path) -> None:
    rng = np.random.default_rng([2, number])
    variable = rng.random() < 0.4
    name = pick(rng, *VARIABLE) if variable else pick(rng, *FILES)
    source = ROOT / "fonts" / (f"{name}/{name}.ttf" if variable else name)
    path = folder / f"{number}.ttf"  # a name of its own: fonts are kept open by their paths
    path.write_bytes(damaged_font(rng, source.read_bytes()))
    axes = {"wght": (300.0, 700.0), "wdth": (75.0, 110.0)} if rng.random() < 0.7 else None
    if variable:
        faces, chances = load_faces([str(path)], DIGITS, axes)
        assert np.isfinite(chances).all()
        assert len(chances) == len(faces)
    else:
        faces = [open_face(path, DIGITS)]
    height, outline, slant = pick(rng, (9, 0, 0), (17.3, 0.75, 4.0), (4, 0, 0), (60, 3, -45))
    for face in faces[:: max(len(faces) - 1, 1)]:
        assert np.isfinite(face.advances).all()
        assert np.isfinite(face.kerning).all()
        assert np.abs(face.advances).max() <= 16
        for digit in sorted(DIGITS):
            glyph = face.draw_glyph(digit, face.pixels_per_em(height), outline, slant)
            assert glyph.fill.shape == glyph.outer.shape
            assert glyph.fill.size < 1 << 25
            assert max(abs(glyph.left), abs(glyph.top)) < 1 << 20
    path.unlink()


def run_image(number: int, folder: Path) -> None:
    """A picture, damaged, and as well an icon."""
    rng = np.random.default_rng([4, number])
    with Image.open(
        ROOT / "backgrounds" / pick(rng, "es_canyon_lake.jpg", "es_cliffs.jpg", "es_desert_rock.jpg")
    ) as image:
        small = image.convert("RGB").resize((int(rng.integers(1, 90)), int(rng.integers(1, 60))))
    kind = pick(rng, "PNG", "PNG", "JPEG", "WEBP", "BMP")
    modes = {"PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "BMP": ("RGB", "L", "P", "1", "RGBA")}
    mode = pick(rng, *modes.get(kind, ("RGB",)))
    made = small.convert("I").convert("I;16") if mode == "I;16" else small.convert(mode)
    options: dict[str, Any] = pick(rng, {}, {"quality": 50})
    if kind == "JPEG":
        options = pick(
            rng,
            {"progressive": True},
            {"quality": 5, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
            {"icc_profile": b"x" * 200},
        )
    if kind in ("PNG", "WEBP") and mode in ("RGB", "RGBA"):
        options = pick(
            rng, {}, {"lossless": True}, {"icc_profile": b"x" * 200}, {"save_all": True, "append_images": [made] * 3}
        )
    file = BytesIO()
    made.save(file, kind, **options)
    path = folder / f"picture.{kind.lower()}"
    path.write_bytes(damaged(rng, file.getvalue()))
    size = pick(rng, (1, 1), (8, 8))
    (read_image, read_icon)[number % 3 == 0](path, size)


def read_icon(path: Path, _: tuple[int, int]) -> None:
    pixels = icons_module._read_icon(path)
    assert pixels.ndim == 3
    assert pixels.dtype == np.float32
    assert pixels.shape[2] == 4
    assert 0 <= pixels.min() <= pixels.max() <= 255


def read_image(path: Path, size: tuple[int, int]) -> None:
    pixels = backgrounds_module.read_image(path, size)
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert pixels.shape[0] >= size[0]
    assert pixels.shape[1] >= size[1]


SPLITS = ("train", "test")


def data_set(folder: Path) -> None:
    """A whole data set of two splits."""
    rng = np.random.default_rng(0)
    about = {}
    for split, count in zip(SPLITS, (12, 5), strict=True):
        writer = SplitWriter(folder, split, count, (6, 8))
        writer.add(
            rng.integers(0, 256, (count, 6, 8, 3), np.uint8), np.arange(count) % 3, [f"{i}é" for i in range(count)]
        )
        about[split] = writer.close()
    manifest = {"format": FORMAT, "hash": "0123", "classes": ["a", "b", "other"], "splits": about}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def run_data_set(number: int, folder: Path) -> None:
    rng = np.random.default_rng([5, number])
    whole_one, path = folder / "whole", folder / "damaged"
    if not whole_one.exists():
        whole_one.mkdir()
        data_set(whole_one)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole_one, path)
    manifest = path / "manifest.json"
    kind = rng.random()
    if kind < 0.5:
        config = json.loads(manifest.read_text(encoding="utf-8"))
        for _ in range(rng.integers(1, 3)):
            spoil(rng, config)
        manifest.write_text(json.dumps(config), encoding="utf-8")
    elif kind < 0.65:
        manifest.write_bytes(damaged(rng, manifest.read_bytes()))
    else:
        file = pick(rng, *sorted(set(path.iterdir()) - {manifest}))
        length = file.stat().st_size
        data = damaged(rng, file.read_bytes())
        if rng.random() < 0.7:  # else the size alone would tell
            data = data[:length].ljust(length, b"\0")
        file.write_bytes(data)
    opened, expected = open_dataset(path), open_dataset(whole_one)
    assert opened.manifest == json.loads(manifest.read_text(encoding="utf-8"))
    assert list(opened.classes) == opened.manifest["classes"]
    for name, split in opened.splits.items():
        assert split.texts == expected.splits[name].texts
        np.testing.assert_array_equal(split.labels, expected.splits[name].labels)
        np.testing.assert_array_equal(split.images, expected.splits[name].images)
        assert split.labels.max() < len(opened.classes)


KINDS: dict[str, Callable[[int, Path], None]] = {
    "specs": run_spec,
    "games": run_game,
    "fonts": run_font,
    "images": run_image,
    "data": run_data_set,
}


def run(kind: str, number: int, folder: Path) -> str:
    """The outcome of a case."""
    try:
        KINDS[kind](number, folder)
    except UserError as error:
        return f"refused: {error.summary}"
    except BaseException as error:
        last = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]} at {' '.join(last)}"
    return "ok"


def main() -> None:
    kind, first, last, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("error")  # a user should see none
    warnings.simplefilter("ignore", ResourceWarning)  # shown to nobody who does not ask
    with (folder / "stderr").open("wb") as said:
        os.dup2(said.fileno(), 2)  # nor what a library prints
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    for number in range(first, last):
        print(f"start {number}", flush=True)
        started, before = time.process_time(), os.fstat(2).st_size
        outcome = run(kind, number, folder)
        with (folder / "stderr").open(encoding="utf-8", errors="replace") as file:
            file.seek(before)
            lines = [line for line in file if not line.startswith("compiling the renderer")]  # our own word, and due
        if lines:
            outcome = f"FAILED: printed {''.join(lines)[:300]!r}, and was {outcome}"
        print(f"end {number} {time.process_time() - started:.3f} {outcome}", flush=True)


if __name__ == "__main__":
    main()
