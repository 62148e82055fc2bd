"""Random specs, games and streams, and damaged fonts, pictures and data sets: each works, or is refused in one line.

The cases run in child processes (`fuzz_child.py`), for a library that crashes would take the tests with it. Each case
follows from its number; `python tests/fuzz_child.py KIND NUMBER NUMBER+1 FOLDER` runs it again.
"""

import os
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph, GlyphComponent
from fontTools.ttLib.tables.DefaultTable import DefaultTable

from textgen.assets.fonts import open_face
from textgen.common.errors import UserError
from textgen.spec.parser import Spec, SpecError

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).parent / "fuzz_child.py"
STALLED = 300  # seconds for one case, on the slowest machine
LONGEST = {"specs": 10, "fonts": 20, "images": 10, "data": 10, "games": 200}  # processor seconds a case may take


def run_cases(
    kind: str, first: int, last: int, folder: Path, environment: dict[str, str]
) -> dict[int, tuple[float, str]]:
    """Seconds and outcome of each case. A case that kills its process has the outcome that says so."""
    outcomes: dict[int, tuple[float, str]] = {}
    while first < last:
        command = [sys.executable, str(CHILD), kind, str(first), str(last), str(folder)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT) as child:
            assert child.stdout
            # What a case took is told when it ends; one that does not end is ended here.
            number, started = first, time.monotonic()
            stalled = threading.Timer(STALLED, child.kill)
            stalled.start()
            for line in child.stdout:
                word, said, *rest = line.split(" ", 3)
                number = int(said)
                if word == "end":
                    outcomes[number] = (float(rest[0]), rest[1].strip())
                elif time.monotonic() - started > 1:  # a timer for each case would take longer than the cases
                    stalled.cancel()
                    started, stalled = time.monotonic(), threading.Timer(STALLED, child.kill)
                    stalled.start()
            stalled.cancel()
        if child.returncode:
            assert number not in outcomes, f"the child ended with {child.returncode} after case {number}"
            outcomes[number] = (time.monotonic() - started, f"FAILED: the process ended with {child.returncode}")
        first = number + 1
    return outcomes


def check(kind: str, count: int, folder: Path, first: int = 0, **environment: str) -> None:
    outcomes = run_cases(kind, first, first + count, folder, environment)
    assert len(outcomes) == count
    slowest = sorted(((seconds, number) for number, (seconds, _) in outcomes.items()), reverse=True)[:5]
    worked = sum(outcome == "ok" for _, outcome in outcomes.values())
    print(f"{kind}: {worked} of {count} worked, the others were refused; slowest, in seconds: {slowest}")
    failed = [f"{kind} {number}: {outcome}" for number, (_, outcome) in outcomes.items() if "FAILED" in outcome]
    assert not failed, f"{len(failed)} of {count} cases, each follows from its number:\n" + "\n".join(failed[:20])
    assert slowest[0][0] < LONGEST[kind], f"{kind} {slowest[0][1]} took {slowest[0][0]} seconds"
    assert 0 < worked < count, "the cases are all alike"


@pytest.mark.parametrize(
    ("kind", "count"), [("specs", 800), ("fonts", 60), ("images", 200), ("data", 100), ("games", 6)]
)
def test_some_cases(kind: str, count: int, tmp_path: Path) -> None:
    check(kind, count, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("specs", 200_000), ("fonts", 2000), ("images", 2000), ("data", 500), ("games", 300)]
)
def test_many_cases(kind: str, count: int, tmp_path: Path) -> None:
    check(kind, count, tmp_path)


@pytest.mark.slow
def test_compiled_code_stays_within_its_arrays(tmp_path: Path) -> None:
    """numba tests no index unless it compiles with this flag, so it compiles anew: a minute or two."""
    check("games", 100, tmp_path / "files", 1000, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path / "cache"))


# ---- What random damage would hit too seldom.

SOURCE = ROOT / "fonts" / "antonio" / "antonio-500.ttf"


def composite_bomb(path: Path, depth: int, width: int, ink: bool) -> None:
    """A font whose 0 puts `width` glyphs together, of which each puts as many together, and so on."""
    font = TTFont(SOURCE, recalcBBoxes=False)
    order, below = list(font.getGlyphOrder()), "space"
    for level in range(depth):
        glyph, parts = Glyph(), [below] * width
        if ink and level == depth - 1:
            parts[0] = "one"
        glyph.numberOfContours, glyph.components = -1, []
        glyph.xMin = glyph.yMin = glyph.xMax = glyph.yMax = 0
        for part in parts:
            component = GlyphComponent()
            component.glyphName, component.x, component.y, component.flags = part, 0, 0, 4
            glyph.components.append(component)
        below = f"level{level}"
        order.append(below)
        font["glyf"].glyphs[below], font["hmtx"][below] = glyph, (500, 0)
    font["glyf"].glyphOrder = order
    font.setGlyphOrder(order)
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap[ord("0")] = below
    font["maxp"].numGlyphs, font["maxp"].maxComponentDepth = len(order), 60000
    font["maxp"].recalc = lambda _: None
    font.save(path)


@pytest.mark.parametrize("ink", [False, True])
def test_a_font_cannot_multiply_its_glyphs(tmp_path: Path, ink: bool) -> None:
    """fontTools and FreeType would draw 60**7 parts."""
    path, started = tmp_path / "bomb.ttf", time.perf_counter()
    composite_bomb(path, 7, 60, ink)
    with pytest.raises(UserError, match="no glyph for 0"):
        open_face(path, frozenset("012"))
    assert time.perf_counter() - started < 10


def test_glyphs_of_a_few_parts_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "composite.ttf"
    composite_bomb(path, 2, 5, True)
    assert open_face(path, frozenset("01")).draw_glyph("0", 20.0).fill.any()


@pytest.mark.parametrize("kind", [4, 12, 13])
def test_a_character_map_cannot_hold_more_than_all_characters(tmp_path: Path, kind: int) -> None:
    """fontTools writes ranges out: to gigabytes."""
    if kind == 4:
        count = 60
        arrays = [[0xFFFF] * count, [0], [32] * count, [1] * count, [0] * count]
        numbers = [number for array in arrays for number in array]
        data = struct.pack(f">7H{len(numbers)}H", 4, 14 + 2 * len(numbers), 0, 2 * count, 0, 0, 0, *numbers)
    else:
        data = struct.pack(">HHIIIIII", kind, 0, 28, 0, 1, 32, 0x7FFFFFFF, 1)
    font = TTFont(SOURCE)
    table = DefaultTable("cmap")
    table.data = struct.pack(">HHHHI", 0, 1, 3, 10, 12) + data
    font["cmap"] = table
    font.save(tmp_path / "bomb.ttf")
    with pytest.raises(UserError, match="more characters than there are"):
        open_face(tmp_path / "bomb.ttf", frozenset("0"))


def test_a_glyph_is_no_larger_than_memory(tmp_path: Path) -> None:
    font = TTFont(SOURCE, recalcBBoxes=False)
    glyph = font["glyf"]["one"]
    glyph.coordinates[0] = (15000, -15000)
    font.save(tmp_path / "wide.ttf")
    face = open_face(tmp_path / "wide.ttf", frozenset("01"))
    with pytest.raises(UserError, match=re.escape("cannot draw 1: it would be ")):
        face.draw_glyph("1", face.pixels_per_em(256))
    assert face.draw_glyph("0", face.pixels_per_em(200)).fill.size


def test_a_value_is_as_short_as_a_text() -> None:
    """The search for two readings would remember a hundred thousand texts of up to as many characters."""
    Spec.parse("N", label="N", fields={"N": ["a" * 200, "b" * 199]})
    with pytest.raises(SpecError, match="a text of 201 characters"):
        Spec.parse("N", label="N", fields={"N": ["a" * 201]})
