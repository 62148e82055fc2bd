"""The tables of `benchmarks/gpu.py`, as Markdown, from the report that it keeps in gpu.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from train.report.paper_numbers import IDS, SPEEDUP

Report = Mapping[str, Any]
Row = Mapping[str, Any]
Parts = Sequence[Mapping[str, Any]]
FORMS = {"dense": "dense", "grouped": "grouped", "narrow": "narrow (control)"}
ENGINES = ("eager", "compile", "fused")


def format_tables(report: Report, open_parts: Sequence[str]) -> str:
    """All tables for which there is a part; machine, commit and date; and what is open.

    A part that failed is a row with the last line of its error.
    """
    lines: list[str] = []
    of_kind = {
        kind: [part for part in report["parts"].values() if part["kind"] == kind]
        for kind in ("kernel", "speed", "training", "paper")
    }
    for kind, table in (("kernel", _kernel), ("speed", _speed), ("training", _training), ("paper", _paper)):
        if of_kind[kind]:
            lines += [*table(of_kind[kind]), ""]
    if report["parts"]:
        versions = [f"{name} {report['machine'][key]}" for name, key in VERSIONS.items()]
        head = [report["machine"]["device"], *versions, report["host"]]
        lines += [f"{', '.join(head)}, commit `{_short(report['commit'])}`.", ""]
    else:
        lines += ["Nothing has been measured on a GPU so far.", ""]
    if open_parts:
        lines += wrap(f"**Open**, not measured yet: {', '.join(open_parts)}.", 120)
    return "\n".join(lines).rstrip()


VERSIONS = {"driver": "driver", "CUDA": "cuda", "PyTorch": "torch", "Triton": "triton"}


def _short(commit: str) -> str:
    return commit[:10] + "+" * commit.endswith("+")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _failed(part: Mapping[str, Any], columns: int) -> list[str]:
    """The last cells of the row of a part that failed."""
    error = " ".join(str(part["error"]).split()).replace("|", "\\|")
    return [f"failed: {error[:200]}", *[""] * (columns - 1)]


def _named(name: str) -> str:
    return f"{name} ({IDS[name]})" if name in IDS else name


def _kernel(parts: Parts) -> list[str]:
    rows: list[list[str]] = []
    for part in parts:
        first = [_named(part["given"]["game"]), part["given"]["precision"]]
        if part["status"] == "failed":
            rows.append([*first, "", *_failed(part, 2)])
        for row in part.get("result", ()):
            figures = [f"{row['difference']:.1e}", f"{row['equal_labels']:.2%}"]
            rows.append([*first, row["network"], *figures])
    images = parts[0]["given"]["images"]
    return [
        f"**The Triton kernel beside eager PyTorch** in float32 without TF32, random weights, {images} smooth random",
        "images: the largest difference of a logit, divided by the largest logit. Expected are less than 1e-4 in fp32",
        "and 5e-3 in fp16.",
        "",
        *_table(["", "precision", "network", "largest difference", "equal labels"], rows),
    ]


def _speed(parts: Parts) -> list[str]:
    names = list(dict.fromkeys(_network(part) for part in parts))
    batches = sorted({row["batch"] for row in _rows(parts)})
    precision = next(s for s in parts[0]["given"]["overrides"] if s.startswith("precisions=")).partition("=")[2]
    sizes = ", ".join(map(str, batches))
    best = [[_named(name), *_best(_rows(parts, name))] for name in names if _rows(parts, name)]
    lines = [
        f"**Best engine against best engine**, in {precision}: thousand images a second, each network in its fastest",
        f"engine at its best batch ({sizes}).",
        "",
        *_table(["", "original", "fold=4", "÷ original", "fold=4, grouped", "fold=4, narrow (control)"], best),
        "",
        f"**The speed columns of the paper's Tables 3 and 4**, in {precision}, at batch {sizes}: thousand images a",
        "second of the original, and the speedups of fold=2, 3, 4 relative to the original in the same engine. The",
        "paper's are dense, on a V100 with TensorRT at batch 1024.",
        "",
    ]
    rows: list[list[str]] = []
    for name in names:
        theirs = SPEEDUP.get(name, ())
        rows.append([_named(name), "the paper", "dense", "", *(f"{times:.2f}" for times in theirs)])
        by_engine = {part["given"]["engine"]: part for part in parts if _network(part) == name}
        for engine in ENGINES:
            part = by_engine.get(engine)
            if part is not None and part["status"] == "failed":
                rows.append(["", engine, "", *_failed(part, 4)])
            elif part is not None:
                rows += _of_engine(engine, part["result"]["rows"], batches)
    lines += _table(["", "engine", "form", "original", "fold=2", "fold=3", "fold=4"], rows)
    least: dict[str, float] = {}
    for row in _rows(parts):
        least[row["engine"]] = min(least.get(row["engine"], 1.0), row["labels_as_pytorch"])
    if least:
        shares = ", ".join(f"{engine} {share:.2%}" for engine, share in least.items())
        lines += ["", f"Labels equal to those of PyTorch in float32 on the CPU, at least: {shares}."]
    return lines


def _network(part: Mapping[str, Any]) -> str:
    return str(part["given"]["network"]).partition("=")[2]


def _rows(parts: Parts, name: str | None = None) -> list[Row]:
    """The rows of the parts that are done, of all networks or of one."""
    chosen = [part for part in parts if part["status"] == "done" and name in (None, _network(part))]
    return [row for part in chosen for row in part["result"]["rows"]]


def _best(rows: Sequence[Row]) -> Iterator[str]:
    """The cells of one network: original, dense, its ratio, grouped and narrow of fold=4."""
    rates = {}
    for fold, form in ((1, "dense"), (4, "dense"), (4, "grouped"), (4, "narrow")):
        found = [row for row in rows if (row["fold"], row["form"]) == (fold, form)]
        row = max(found, key=lambda row: row["images_per_second"], default=None)
        if row is not None:
            rates[fold, form] = row["images_per_second"]
        yield "" if row is None else f"{row['images_per_second'] / 1000:.0f} ({row['engine']})"
        if (fold, form) == (4, "dense"):
            both = (1, "dense") in rates and (4, "dense") in rates
            yield f"{rates[4, 'dense'] / rates[1, 'dense']:.2f}" if both else ""


def _of_engine(engine: str, rows: Sequence[Row], batches: Sequence[int]) -> Iterator[list[str]]:
    """A row for each form: the original's rates, and the speedup at each fold, by batch."""
    found = {(row["fold"], row["form"], row["batch"]): row["images_per_second"] for row in rows}
    original = [found.get((1, "dense", batch)) for batch in batches]
    shown = ", ".join("–" if rate is None else f"{rate / 1000:.0f}" for rate in original)
    for form, title in FORMS.items():
        if not any(key[0] > 1 and key[1] == form for key in found):
            continue
        cells = []
        for fold in (2, 3, 4):
            pairs = [(found.get((fold, form, batch)), base) for batch, base in zip(batches, original, strict=True)]
            times = [f"{rate / base:.2f}" for rate, base in pairs if rate and base]
            cells.append(", ".join(times))
        yield ["", engine, title, shown, *cells]
        shown = ""


def _training(parts: Parts) -> list[str]:
    found: dict[tuple[str, int], dict[bool, Mapping[str, Any]]] = {}
    for part in parts:
        given = part["given"]
        found.setdefault((given["recipe"], given["fold"]), {})[given["compile"]] = part
    rows = []
    for (recipe, fold), pair in found.items():
        rates = [pair[key]["result"]["images_per_second"] if _is_done(pair, key) else None for key in (False, True)]
        ratio = f"{rates[1] / rates[0]:.2f}" if rates[0] and rates[1] else ""
        cells = [_rate(pair.get(key), rate) for key, rate in zip((False, True), rates, strict=True)]
        rows.append([recipe, str(fold), *cells, ratio])
    return [
        "**Training**, images a second of sot_time (V4) on images that lie on the GPU, median of the epochs after the",
        "first; `compile=true` uses torch.compile with CUDA graphs. Float32 with PyTorch's defaults, which allow TF32",
        "in convolutions.",
        "",
        *_table(["recipe", "fold", "eager", "compile=true", "÷ eager"], rows),
    ]


def _is_done(pair: Mapping[bool, Mapping[str, Any]], key: bool) -> bool:
    return key in pair and pair[key]["status"] == "done"


def _rate(part: Mapping[str, Any] | None, rate: float | None) -> str:
    if part is None:
        return ""
    return _failed(part, 1)[0] if rate is None else f"{rate:,.0f}"


def _paper(parts: Parts) -> list[str]:
    (part,) = parts
    lines = ["**`recipe=paper` of sot_coin (V3)**, all networks at once, a process each, with `compile=true`.", ""]
    if part["status"] == "failed":
        return [*lines, _failed(part, 1)[0]]
    rows = []
    for name, run in part["result"]["runs"].items():
        if "error" in run:
            rows.append([name, str(run["epochs"]), *_failed(run, 5)])
            continue
        cells = [f"{run['images_per_second']:,.0f}", f"{run['seconds']:.0f}"] if run["epochs"] else ["", ""]
        validation = f"{run['val_accuracy']:.2%} ({run['classes']} classes)" if run["epochs"] else ""
        test = "not finished"
        if run.get("accuracy") is not None:
            low, high = run["accuracy_ci95"]
            test = f"{run['accuracy']:.2%} ({low:.2%} to {high:.2%})"
        orders = "" if run.get("order_agreement") is None else f"{run['order_agreement']:.2%}"
        rows.append([name, str(run["epochs"]), *cells, validation, test, orders])
    head = ["", "epochs", "images/s", "seconds", "validation, last epoch", "test", "order agreement"]
    return [*lines, *_table(head, rows)]
