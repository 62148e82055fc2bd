"""Time textgen beside other generators of text crops: `python benchmarks/textgen_vs_peers.py [--write]`.

The same job for all: 22×52 RGB crops of "XY.Zk", digits about 9 pixels high, in the fonts of the game lol_gold1, on the
pictures of backgrounds/ or on one colour, in memory. Each peer is installed from PyPI into an environment of its own
(some gigabytes where PyTorch brings CUDA along) and configured as well as it can be, see benchmarks/peers/. Every tool
runs alone, one thread on one core, and the order of the tools turns from trial to trial. What does not install or run
is in the table with its last line of error.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

try:
    from omegaconf import OmegaConf
    from PIL import Image, ImageDraw, ImageFont
    from results import machine, write

    from textgen.assets.catalogue import resolve_asset
except ImportError as error:
    print(f"textgen_vs_peers: {error}; run it with the Python that foldtext is installed for", file=sys.stderr)
    sys.exit(2)

HERE = Path(__file__).resolve().parent
COMMAND = "python benchmarks/textgen_vs_peers.py --write"
SIZE = (22, 52)  # height, width
EM = 14  # pixels an em: digits of about 9 pixels in these fonts
SAMPLES = 12  # crops of each row on the contact sheet
TIMEOUT = 300  # seconds for a process beyond its rounds: some tools retry errors for ever
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "VECLIB")
GAME = ["game=lol_gold1", "game.text.height=[8,10]"]
PICTURES = f'game.backgrounds=[{{source: "{files("backgrounds")}/"}}]'
SOLID = 'game.backgrounds=[{source: gradient, tint: ["#101820"], tint_opacity: [1, 1]}]'


@dataclass
class Row:
    """A tool in one configuration, and what came of it."""

    tool: str
    full: bool  # picture as background and an effect, or a solid background and nothing else
    draws: str
    driver: str = ""  # a file in benchmarks/peers/
    overrides: list[str] = field(default_factory=list)  # of textgen's config
    error: str = ""  # why there is no rate
    rates: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    samples: list[Image.Image] = field(default_factory=list)


REQUIREMENTS = {  # by driver; those of the newest Pillow and NumPy that the tool works with
    "trdg": ["trdg==1.8.0", "pillow<10", "numpy<2"],
    "synthtiger": ["synthtiger==1.2.1", "pillow<10", "numpy<2"],
    "doctr": ["python-doctr==1.1.0", "torch==2.13.0"],
    "ocr_data_toolkit": ["ocr-data-toolkit==0.2.0", "pillow<13"],
    "text_image_generator": ["text-image-generator==0.2.6", "numpy"],
}
PACKAGES = {  # whose versions are reported
    "textgen": ["foldtext", "numpy", "numba", "pillow", "opencv-python-headless", "albumentations"],
    "trdg": ["trdg", "pillow", "numpy", "opencv-python"],
    "synthtiger": ["synthtiger", "pillow", "numpy", "imgaug", "opencv-python"],
    "doctr": ["python-doctr", "pillow", "numpy", "torch"],
    "ocr_data_toolkit": ["ocr-data-toolkit", "pillow", "numpy", "opencv-python"],
    "text_image_generator": ["text-image-generator", "numpy"],
}
NOT_ON_PYPI = "not measured: it is not on PyPI, only a repository"


def rows() -> list[Row]:
    """All rows of both tables. The first of each is what the others are compared with."""
    return [
        Row(
            tool="textgen",
            full=True,
            draws="pictures, zoomed and lit; shadow, outline, noise; any position; low contrast drawn again",
            driver="textgen",
            overrides=[*GAME, PICTURES, "augment=noise"],
        ),
        Row(
            tool="textgen, augment=light",
            full=True,
            draws="the same, and the default augmentation: downscaling, blur, light, noise, JPEG",
            driver="textgen",
            overrides=[*GAME, PICTURES, "augment=light"],
        ),
        Row("trdg", True, "pictures; blur; centred; what it drops for lack of contrast is not counted", "trdg"),
        Row("synthtiger", True, "pictures; shadow or outline, noise; own template of its components", "synthtiger"),
        Row(
            tool="ocr-data-toolkit",
            full=True,
            draws="pictures for 4 of 5, else white; blur, brightness; own size, scaled and padded to ours",
            driver="ocr_data_toolkit",
        ),
        Row(
            tool="text-image-generator",
            full=True,
            draws="in Rust; grey, not RGB; one piece of each picture for ever; Poisson blending, blur; many illegible",
            driver="text_image_generator",
        ),
        Row("docTR", True, "", error="not measured: it draws no pictures as background"),
        Row("text_renderer", True, "", error=NOT_ON_PYPI),
        Row(
            tool="textgen",
            full=False,
            draws="one colour; any position; contrast measured",
            driver="textgen",
            overrides=[*GAME, SOLID, "game.text.shadow=null", "game.text.outline=null", "augment=off"],
        ),
        Row("trdg", False, "white; centred", "trdg"),
        Row("synthtiger", False, "one colour; own template of its components", "synthtiger"),
        Row(
            "docTR",
            False,
            "the function behind its WordGenerator: one colour; size by the text, whose foot it cuts off",
            "doctr",
        ),
        Row(
            tool="text-image-generator",
            full=False,
            draws="in Rust; one colour; height ours, width by the text; position fixed",
            driver="text_image_generator",
        ),
        Row("ocr-data-toolkit", False, "", error="not measured: it draws pictures as background, always"),
        Row("text_renderer", False, "", error=NOT_ON_PYPI),
    ]


def main() -> None:
    args = arguments()
    table = [row for row in rows() if not args.only or row.tool.split(",")[0] in args.only]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        job = common_job(scratch, args)
        pythons = {}
        for driver in dict.fromkeys(row.driver for row in table if row.driver):
            pythons[driver], error = (sys.executable, "") if driver == "textgen" else environment(args.envs, driver)
            for row in table:
                if row.driver == driver and error:
                    row.error = f"does not install: {error}"
        for trial in range(args.trials):
            turn = trial * len(table) // args.trials  # no tool is always first
            for row in table[turn:] + table[:turn]:
                if not row.error:
                    print(f"trial {trial + 1} of {args.trials}: {title(row)}", file=sys.stderr)
                    measure(row, pythons[row.driver], job, scratch)
    text = report(table, args)
    print(text)
    if args.sheet:
        sheet(table).save(args.sheet)
    if args.write:
        write("peers", "textgen beside its peers", COMMAND, text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.error = fail  # type: ignore[method-assign]  # one line, without the usage
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/foldtext-benchmarks"), help="environments of peers")
    parser.add_argument("--trials", type=int, default=3, help="processes of each tool (3)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each process (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of a round (1)")
    parser.add_argument("--core", type=int, help="the core to run on (by default the last one)")
    parser.add_argument("--only", nargs="+", metavar="TOOL", help="textgen, trdg, synthtiger, …")
    parser.add_argument("--sheet", type=Path, help=f"write a PNG with {SAMPLES} crops of each row")
    parser.add_argument("--write", action="store_true", help="replace the section in benchmarks/RESULTS.md")
    args = parser.parse_args()
    args.envs = args.envs.expanduser().absolute()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    args.core = cores[-1] if args.core is None else args.core
    names = list(dict.fromkeys(row.tool.split(",")[0] for row in rows()))
    if args.core not in cores:
        fail(f"--core {args.core} is not there, these are: {' '.join(map(str, cores))}")
    if min(args.trials, args.rounds) < 1 or not 0 < args.seconds <= 600:
        fail("--trials and --rounds are at least 1, --seconds lies in 0…600")
    if unknown := [name for name in args.only or () if name not in names]:
        fail(f"--only: there is no {unknown[0]}, but {', '.join(names)}")
    if args.sheet and (args.sheet.suffix.lower() != ".png" or not args.sheet.absolute().parent.is_dir()):
        fail(f"--sheet {args.sheet} is no PNG file in a folder that exists")
    if args.write and args.only:
        fail("--write needs all tools: leave out --only")
    try:
        args.envs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--envs {args.envs}: {error.strerror}")
    return args


def fail(message: str) -> NoReturn:
    """A mistake of the user: one line, exit code 2."""
    print(f"textgen_vs_peers: {message}", file=sys.stderr)
    sys.exit(2)


def common_job(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What every tool gets: strings, fonts, pictures, and how long to run."""
    game = OmegaConf.load(str(files("conf") / "game" / "lol_gold1.yaml"))
    fonts = [path for item in game.text.fonts for path in resolve_asset("fonts", item, (".ttf", ".otf"))]
    draw = random.Random(0)
    for folder in ("fonts", "pieces"):
        (scratch / folder).mkdir()
    for path in fonts:
        shutil.copy(path, scratch / "fonts")
    pictures = Path(str(files("backgrounds")))
    # Peers that read a picture from disk for every crop get the cheapest that there is: small pieces, not compressed.
    for path in sorted(pictures.glob("*.jpg")):
        with Image.open(path) as picture:
            x, y = picture.width // 2 - SIZE[1], picture.height // 2 - SIZE[0]
            piece = picture.convert("RGB").crop((x, y, x + 2 * SIZE[1], y + 2 * SIZE[0]))
        piece.save(scratch / "pieces" / f"{path.stem}.bmp")
    return {
        "size": SIZE,
        "em": EM,
        "texts": [f"{draw.randrange(100):02}.{draw.randrange(10)}k" for _ in range(1009)],  # a prime: all fonts get all
        "fonts": [str(path) for path in fonts],
        "font_folder": str(scratch / "fonts"),
        "pictures": str(pictures),
        "pieces": str(scratch / "pieces"),
        "piece_files": sorted(str(path) for path in (scratch / "pieces").iterdir()),
        "scratch": str(scratch),
        "core": args.core,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "samples": SAMPLES,
    }


def environment(envs: Path, driver: str) -> tuple[str, str]:
    """The interpreter of the environment of a peer, made where it is not there or was made otherwise, or an error."""
    folder, wanted = envs / driver, "\n".join([sys.version, *REQUIREMENTS[driver]])
    python, mark = str(folder / "bin" / "python"), folder / "installed"
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python, ""
    print(f"installing {' '.join(REQUIREMENTS[driver])}", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS[driver]]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return python, last_line(done.stderr or done.stdout)
    mark.write_text(wanted, encoding="utf-8")
    return python, ""


def measure(row: Row, python: str, job: dict[str, Any], scratch: Path) -> None:
    """Run the tool once in a process of its own and add its rates to the row, or note the error."""
    special = {"driver": row.driver, "full": row.full, "overrides": row.overrides, "packages": PACKAGES[row.driver]}
    (scratch / "job.json").write_text(json.dumps({**job, **special}), encoding="utf-8")
    command = [python, "-P", str(HERE / "peers" / "run.py"), str(scratch / "job.json")]
    env = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in THREADS}}
    if row.driver != "textgen":
        env.pop("PYTHONPATH", None)  # what it names is meant for the environment of foldtext
    limit = TIMEOUT + (job["rounds"] + 1) * job["seconds"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        row.error = f"no result after {limit:.0f} s"
        return
    if done.returncode:
        row.error = f"crashes: {last_line(done.stderr) or f'exit code {done.returncode}'}"
        return
    result = json.loads(done.stdout.splitlines()[-1])
    row.rates += result["rates"]
    row.versions = result["versions"]
    row.samples = [unpacked(sample) for sample in result["samples"]]


def last_line(text: str) -> str:
    """The last line that says something, without what would break a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("[notice]")]
    return lines[-1].replace("|", "/")[:160] if lines else ""


def unpacked(sample: dict[str, Any]) -> Image.Image:
    """A crop as peers/run.py packs it."""
    height, width, *channels = sample["shape"]
    mode = "RGB" if channels else "L"
    return Image.frombytes(mode, (width, height), base64.b64decode(sample["bytes"])).convert("RGB")


def title(row: Row) -> str:
    return f"{row.tool}, {'full pipeline' if row.full else 'plain'}"


def report(table: list[Row], args: argparse.Namespace) -> str:
    """The section of RESULTS.md: two tables, the machine and the versions."""
    rounds = args.trials * args.rounds
    lines = [
        f"{SIZE[0]}×{SIZE[1]} crops of `XY.Zk`, digits about 9 pixels high, in memory; one thread on one core. Crops a",
        f"second: median (lowest to highest) of {rounds} rounds of {args.seconds:g} s in {args.trials} processes. The",
        "third column is the rate of the table's first row divided by this one's: how many times as fast textgen is.",
    ]
    for full, heading in ((True, "Full pipeline: a picture as background, and an effect"), (False, "Plain")):
        part = [row for row in table if row.full == full]
        if not part:
            continue
        lines += ["", f"**{heading}**", "", "| tool | crops a second | textgen / it | draws |", "|---|---|---|---|"]
        reference = statistics.median(part[0].rates) if part[0].driver == "textgen" and part[0].rates else None
        for row in part:
            if row.error:
                lines.append(f"| {row.tool} | – | – | {row.error} |")
                continue
            rate = statistics.median(row.rates)
            ratio = "–" if reference is None else figure(reference / rate)
            spread = f"{figure(min(row.rates))} to {figure(max(row.rates))}"
            lines.append(f"| {row.tool} | {figure(rate)} ({spread}) | {ratio} | {row.draws} |")
    versions = {row.driver: row.versions for row in table if row.versions}
    lines += [
        "",
        f"{machine()}. Versions:",
    ]
    lines += ["- " + ", ".join(f"{name} {version}" for name, version in found.items()) for found in versions.values()]
    return "\n".join(lines)


def figure(value: float) -> str:
    """Three digits that count: 12 300, 123, 1.23."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def sheet(table: list[Row], zoom: int = 3) -> Image.Image:
    """Crops of every row that ran, below its name; larger ones than ours are scaled down to fit."""
    ran = [row for row in table if row.samples]
    height, width = SIZE[0] * zoom, SIZE[1] * zoom
    page = Image.new("RGB", (SAMPLES * (width + 4), max(len(ran), 1) * (height + 22)), "#303030")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for i, row in enumerate(ran):
        top = i * (height + 22)
        draw.text((2, top + 1), f"{title(row)}: {row.draws}", "#ffffff", font)
        for j, crop in enumerate(row.samples):
            scale = min(width / crop.width, height / crop.height, zoom)
            method = Image.Resampling.NEAREST if scale == zoom else Image.Resampling.LANCZOS
            shown = crop.resize((round(crop.width * scale), round(crop.height * scale)), method)
            page.paste(shown, (j * (width + 4), top + 20))
    return page


if __name__ == "__main__":
    main()
