"""benchmarks/gpu.py on a CPU with tiny networks: the same processes, limits and tables as on a GPU."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu
import gpu_tables

MACHINE = {"device": "NVIDIA H100", "driver": "580.1", "cuda": "13.0", "torch": "2.13.0", "triton": "3.9.0"}
HEAD = {"commit": "0123456789abcdef", "machine": MACHINE, "host": "a processor, 16 cores, 2026-11-28"}
TINY = {part.name: part for part in gpu.list_parts("cpu", True, Path("runs"), Path("data"))}
EAGER = TINY["speed lol_gold1 eager"]
ENDLESS = {**TINY["training paper f=1"].given, "epochs": 10**6}


def new_store(folder: Path, *parts: gpu.Part, **head: Any) -> gpu.Store:
    store = gpu.Store(folder, HEAD | head, [part.name for part in parts])
    store.load()
    return store


@pytest.mark.slow
def test_a_part_that_fails_does_not_lose_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parts = [
        gpu.Part("unknown", "speed", {**EAGER.given, "network": "game=nothing"}, 60),
        EAGER,
    ]
    store = new_store(tmp_path, *parts)
    gpu.run_parts(parts, store, end=time.monotonic() + 120)
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert written == {**HEAD, "parts": store.parts}
    assert [part["status"] for part in store.parts.values()] == ["failed", "done"]
    assert store.parts["unknown"]["error"].startswith("of which network?")
    rows = store.parts[EAGER.name]["result"]["rows"]
    assert {(row["form"], row["batch"]) for row in rows} == {(form, n) for form in gpu_tables.FORMS for n in (8, 16)}
    assert all(row["labels_as_pytorch"] == 1 for row in rows)
    tables = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "failed: of which network?" in tables
    assert "**Open**, not measured yet: unknown." in tables

    before = (tmp_path / "gpu.json").read_bytes()
    again = new_store(tmp_path, *parts)
    assert [part.name for part in parts if again.is_open(part.name)] == ["unknown"]
    gpu.run_parts([EAGER], again, end=time.monotonic() + 120)
    assert (tmp_path / "gpu.json").read_bytes() == before, "a part that is done is not measured again"
    capfd.readouterr()
    assert new_store(tmp_path, *parts, commit="another").parts == {}
    assert "everything is measured again" in capfd.readouterr().err


@pytest.mark.slow
def test_the_time_is_kept_and_what_it_cuts_off_stays_open(tmp_path: Path) -> None:
    hanging = gpu.Part("hanging", "training", ENDLESS, limit=0.5, least=0)
    cut_off = gpu.Part("cut off", "training", ENDLESS, limit=60, least=0)
    store = new_store(tmp_path, hanging, cut_off, EAGER)
    begun = time.monotonic()
    gpu.run_parts([hanging, cut_off, EAGER], store, end=begun + 2 + gpu.GRACE)
    assert time.monotonic() - begun < 2 + 4 * gpu.GRACE
    assert {name: part["status"] for name, part in store.parts.items()} == {"hanging": "failed"}
    assert store.parts["hanging"]["error"].startswith("stopped after 0 s")
    assert "Open**, not measured yet: hanging, cut off, speed lol_gold1 eager." in store.write_tables()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--device", "mps"], "--device=mps: this needs an NVIDIA GPU"),
        (["--device", "cpu"], "--device=cpu is for tests"),
        (["--device", "cpu", "--tiny"], "give --folder too"),
        (["--minutes", "0"], "--minutes=0: give more than 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(given) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def speed_part(engine: str, rates: dict[tuple[int, str], tuple[int, int]]) -> dict[str, Any]:
    rows = [
        {"fold": fold, "form": form, "engine": engine, "batch": batch, "images_per_second": rate}
        for (fold, form), pair in rates.items()
        for batch, rate in zip((1024, 2048), pair, strict=True)
    ]
    given = {"network": "game=sot_time", "engine": engine, "overrides": ["precisions=fp16"]}
    result = {"rows": [row | {"labels_as_pytorch": 0.998} for row in rows], "notes": []}
    return {"kind": "speed", "given": given, "status": "done", "result": result}


def test_tables() -> None:
    given = {"game": "lol_gold1", "precision": "fp16", "images": 4099}
    of_kernel = [{"network": "fold=4", "difference": 0.00123, "equal_labels": 0.9995, "first_call": 3.0}]
    trained = {"recipe": "paper", "fold": 4}
    finished = {"accuracy": 0.9411, "accuracy_ci95": [0.93, 0.95], "order_agreement": 0.921}
    progress = {"classes": 15, "val_accuracy": 0.95, "images_per_second": 50_000.0, "seconds": 360.4}
    parts = {
        "kernel": {"kind": "kernel", "given": given, "status": "done", "result": of_kernel},
        "broken": {"kind": "kernel", "given": given | {"precision": "fp32"}, "status": "failed", "error": "a|b\nc"},
        "eager": speed_part("eager", {(1, "dense"): (500_000, 600_000), (4, "dense"): (750_000, 1_200_000)}),
        "fused": speed_part("fused", {(1, "dense"): (900_000, 800_000), (4, "narrow"): (1_800_000, 2_400_000)}),
        "compile": speed_part("compile", {}) | {"status": "failed", "error": "ended by signal 11"},
        "slow": {"kind": "training", "given": trained | {"compile": False}, "status": "done"},
        "fast": {"kind": "training", "given": trained | {"compile": True}, "status": "done"},
        "paper": {"kind": "paper", "given": {}, "status": "unfinished"},
    }
    parts["slow"]["result"], parts["fast"]["result"] = {"images_per_second": 20e3}, {"images_per_second": 50e3}
    runs = {"sot_coin_f1": {"epochs": 7, **progress}, "sot_coin_f4": {"epochs": 1500, **progress, **finished}}
    parts["paper"]["result"] = {"finished": False, "runs": runs}
    lines = gpu_tables.format_tables({**HEAD, "parts": parts}, ["broken", "paper"]).splitlines()
    assert [line for line in lines if line.startswith("|") and not line.startswith("| ---")] == [
        "|  | precision | network | largest difference | equal labels |",
        "| lol_gold1 (V1) | fp16 | fold=4 | 1.2e-03 | 99.95% |",
        "| lol_gold1 (V1) | fp32 |  | failed: a\\|b c |  |",
        "|  | original | fold=4 | ÷ original | fold=4, grouped | fold=4, narrow (control) |",
        "| sot_time (V4) | 900 (fused) | 1200 (eager) | 1.33 |  | 2400 (fused) |",
        "|  | engine | form | original | fold=2 | fold=3 | fold=4 |",
        "| sot_time (V4) | the paper | dense |  | 1.22 | 1.40 | 1.67 |",
        "|  | eager | dense | 500, 600 |  |  | 1.50, 2.00 |",
        "|  | compile |  | failed: ended by signal 11 |  |  |  |",
        "|  | fused | narrow (control) | 900, 800 |  |  | 2.00, 3.00 |",
        "| recipe | fold | eager | compile=true | ÷ eager |",
        "| paper | 4 | 20,000 | 50,000 | 2.50 |",
        "|  | epochs | images/s | seconds | validation, last epoch | test | order agreement |",
        "| sot_coin_f1 | 7 | 50,000 | 360 | 95.00% (15 classes) | not finished |  |",
        "| sot_coin_f4 | 1500 | 50,000 | 360 | 95.00% (15 classes) | 94.11% (93.00% to 95.00%) | 92.10% |",
    ]
    assert lines[-3] == (
        "NVIDIA H100, driver 580.1, CUDA 13.0, PyTorch 2.13.0, Triton 3.9.0, a processor, 16 cores, 2026-11-28, "
        "commit `0123456789`."
    )
    assert lines[-1] == "**Open**, not measured yet: broken, paper."


@pytest.mark.slow
def test_everything_on_a_cpu(tmp_path: Path) -> None:
    given = ["--device", "cpu", "--tiny", "--folder", str(tmp_path), "--minutes", "20"]
    assert gpu.main(given) == 0
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {name: part.get("error") for name, part in written["parts"].items()} == dict.fromkeys(TINY)
    assert str(ROOT) not in json.dumps(written)
    assert "Open" not in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    begun = time.monotonic()
    assert gpu.main(given) == 0
    assert time.monotonic() - begun < 10, "nothing is measured again"
