"""What `benchmarks/gpu.py` measures, a function for each kind of part. It runs this file for each of them:

a process imports everything, reads one line of JSON from its standard input, {"kind", "given", "seconds", "result"},
and writes {"result": …} or {"error": …} to the file `result`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from train.common.environment import set_openmp_waiting

set_openmp_waiting()  # before PyTorch is imported

import torch  # noqa: E402

from textgen.common.atomic import write_atomic  # noqa: E402
from textgen.common.errors import UserError  # noqa: E402
from textgen.common.hydra_app import compose_config  # noqa: E402
from textgen.common.validation import validate  # noqa: E402
from textgen.dataset.build import ensure_dataset  # noqa: E402
from textgen.schema.definition import parse_definition  # noqa: E402
from textgen.schema.game import Game  # noqa: E402
from train.bench.report import build_report  # noqa: E402
from train.bench.settings import Settings  # noqa: E402
from train.config.compose import compose  # noqa: E402
from train.config.recipe import fit_recipe  # noqa: E402
from train.data.sources import DeviceSplit  # noqa: E402
from train.folding.slots import assemble_slots  # noqa: E402
from train.inference.network import Network  # noqa: E402
from train.metrics.predict import predict  # noqa: E402
from train.models.notation import build, initialise, parse  # noqa: E402
from train.trainer.loop import train  # noqa: E402
from train.trainer.state import Computation, Output, TrainingSetup  # noqa: E402

Given = Mapping[str, Any]
ROOT = Path(__file__).resolve().parents[1]
SAVING = 20  # seconds that a stopped training may take until its checkpoint is written
ROW = ("network", "fold", "form", "engine", "batch", "images", "images_per_second", "quartile_low", "quartile_high")


def kernel(given: Given, seconds: float) -> list[dict[str, Any]]:
    """The logits of the Triton kernel in one precision, beside those of PyTorch in float32 on the same device.

    A row for the original, fold=4 with free weights, and fold=4 with slots.
    """
    if find_spec("triton") is None:
        raise UserError("triton is not installed")
    if given["device"] == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when the kernel is imported
    from train.inference.gpu.fused import FusedNetwork  # noqa: PLC0415

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    rows = []
    for name, fold, slots in (("original", 1, False), ("fold=4", 4, False), ("fold=4, slots", 4, True)):
        network = random_network(given, fold, slots=slots)
        images = random_images(given["images"], network.size)
        begun = time.perf_counter()
        logits = FusedNetwork(network, given["precision"], given["device"])(images).cpu()
        first_call = time.perf_counter() - begun
        n = len(images)
        stacks = torch.arange(n + -n % fold).clamp(max=n - 1).view(-1, fold)
        expected = predict(network.net.to(given["device"]), images.to(given["device"]), stacks)
        rows.append(
            {
                "network": name,
                "difference": float((logits - expected).abs().max() / expected.abs().max()),
                "equal_labels": float((logits.argmax(1) == expected.argmax(1)).float().mean()),
                "first_call": first_call,
            }
        )
    return rows


def random_network(given: Given, fold: int, *, slots: bool) -> Network:
    """The network of a game, with random weights and biases."""
    torch.manual_seed(0)
    config = compose(f"game={given['game']}", *given["overrides"])
    game = validate(Game, config["game"], "game")
    arch, pool = config["model"]["arch"] or game.arch, config["model"]["pool"]
    layers, classes = parse(arch, pool), game.classes
    net = build(layers, size=game.size, classes=len(classes), fold=fold)
    source = build(layers, size=game.size, classes=len(classes), slot_of=fold) if slots else net
    initialise(source, "reference")
    for name, parameter in source.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    if slots:
        assemble_slots(source, net, fold)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(net.requires_grad_(False).eval(), arch, pool, game.size, classes, fold)


def random_images(n: int, size: tuple[int, int]) -> torch.Tensor:
    """Random smooth pictures (n, H, W, 3): noise would give all of them nearly the same logits."""
    coarse = torch.rand(n, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def speed(given: Given, seconds: float) -> dict[str, Any]:
    """Rows and notes of `train.bench` for one network in one engine.

    The kernel runs slots as their narrow network, and so gets free weights for the dense form.
    """
    engine, forms = given["engine"], "[dense,grouped,narrow]"
    if engine != "fused":
        reports = [bench(given, f"forms={forms}")]
    else:
        reports = [bench(given, "forms=narrow"), bench(given, "forms=dense", "slots=false")]
    rows = [{key: row[key] for key in (*ROW, "labels_as_pytorch")} for report in reports for row in report["rows"]]
    unique = {(row["network"], row["batch"]): row for row in reversed(rows)}  # the original is in both
    return {"rows": [*reversed(unique.values())], "notes": [note for report in reports for note in report["notes"]]}


def bench(given: Given, *more: str) -> dict[str, Any]:
    """The report of `python -m train.bench` with the settings of `given`."""
    threads = min(os.cpu_count() or 1, 8)  # PyTorch on the CPU gives the labels that are compared
    settings = [given["network"], f"engines={given['engine']}", f"device={given['device']}", f"threads={threads}"]
    c = compose_config("bench", *settings, "pin=false", *given["overrides"], *more)
    game = validate(Game, c["game"], "game") if "game" in c else None
    return build_report(validate(Settings, {key: value for key, value in c.items() if key != "game"}), game)


def training(given: Given, seconds: float) -> dict[str, float]:
    """Images a second of training, the median of the epochs after the first, and the seconds of the first.

    The images are random, and lie on the device from the beginning.
    """
    device, fold, n = torch.device(given["device"]), given["fold"], given["images"]
    config = compose("game=sot_time", f"recipe={given['recipe']}", *given["overrides"])
    game = validate(Game, config["game"], "game")
    layers = parse(config["model"]["arch"] or game.arch, config["model"]["pool"])
    options = {"game": game.name, "fold": fold, "train_images": n, "epochs": given["epochs"]}
    recipe = fit_recipe(config["recipe"] | {"curriculum": None}, **options)
    source = DeviceSplit(
        torch.randint(0, 256, (n, *game.size, 3), dtype=torch.uint8).to(device),
        (torch.arange(n) % len(game.classes)).to(device),
    )
    val = DeviceSplit(source.images[:108], source.labels[:108])
    setup = TrainingSetup(source, val, network=layers, fields=game.label_fields, fold=fold, recipe=recipe, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        output = Output(Path(folder), "", lambda net: None, quiet=True)
        history = train(setup, output, Computation(compile=given["compile"])).history
    rates = [line["images_per_second"] for line in history[1:]]
    return {"images_per_second": statistics.median(rates), "first_epoch": history[0]["train_seconds"]}


def paper(given: Given, seconds: float) -> dict[str, Any]:
    """Train all networks of `given` at once, each a process, until they are finished or `seconds` are over.

    The same command goes on from the checkpoints. Returns for each how far it is.
    """
    runs = {run["name"]: run for run in given["runs"]}
    folder = Path(given["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + max(seconds - SAVING, 1)
    processes = {}
    for name, run in runs.items():
        command = [sys.executable, "-m", "train", *run["settings"], f"out={folder / name}", f"data_dir={given['data']}"]
        with (folder / f"{name}.log").open("w") as log:
            processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    for process in processes.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(end - time.monotonic(), 0))
    stopped = {name for name, process in processes.items() if process.poll() is None}
    for name in stopped:
        processes[name].send_signal(signal.SIGINT)  # it writes its checkpoint
    for process in processes.values():
        process.wait()
    found = {name: progress(folder / name) for name in runs}
    for name, process in processes.items():
        if name not in stopped and process.returncode:
            found[name]["error"] = last_line(folder / f"{name}.log")
    return {"finished": all("accuracy" in each for each in found.values()), "runs": found}


def progress(folder: Path) -> dict[str, Any]:
    """How far a run is, by its metrics.jsonl, and its accuracy if it is finished."""
    found: dict[str, Any] = {"epochs": 0}
    with suppress(FileNotFoundError):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        if lines:
            found = {
                "epochs": lines[-1]["epoch"],
                "classes": lines[-1]["classes"],
                "val_accuracy": lines[-1]["val_accuracy"],
                "images_per_second": statistics.median(line["images_per_second"] for line in lines[-100:]),
                "seconds": lines[-1]["seconds"],
            }
    with suppress(FileNotFoundError):
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        found |= {key: result.get(key) for key in ("accuracy", "accuracy_ci95", "order_agreement")}
    return found


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it wrote nothing")


def compiling(given: Given, seconds: float) -> None:
    """Compile what other parts will need, on all cores at once, into the caches of Triton and PyTorch on disk.

    What fails here fails again in the part that needs it, and is reported there.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # there is a process for each core already
    jobs = []
    for part in given["parts"]:
        if part["kind"] == "speed":
            quick = ["trials=1", "seconds=0.001"]
            for fold in part["given"]["folds"]:
                own = {"overrides": [*part["given"]["overrides"], *quick, f"fold={fold}"]}
                jobs.append(("speed", part["given"] | own))
        else:
            jobs.append((part["kind"], part["given"]))
    jobs[:0] = [("dataset", {"data": given["data"], "settings": run["settings"]}) for run in given["runs"][:1]]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(_try, *job) for job in jobs]:
            with suppress(Exception):  # of a process that crashed
                future.result()


def dataset(given: Given, seconds: float) -> None:
    """Render the crops that `paper` trains on."""
    ensure_dataset(parse_definition(compose(*given["settings"]), 0), Path(given["data"]), quiet=True)


def _try(kind: str, given: Given) -> None:
    with suppress(Exception):
        KINDS[kind](given, 0)


KINDS = {
    "kernel": kernel,
    "speed": speed,
    "training": training,
    "paper": paper,
    "compiling": compiling,
    "dataset": dataset,
}


def main() -> None:
    line = sys.stdin.readline()
    if not line:  # a process in reserve that is not needed
        return
    job = json.loads(line)
    try:
        answer = {"result": KINDS[job["kind"]](job["given"], job["seconds"])}
    except Exception as error:
        traceback.print_exc()
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        answer = {"error": f"{kind}{first}"}
    write_atomic(Path(job["result"]), json.dumps(answer).encode(), "another folder with --folder")


if __name__ == "__main__":
    main()
