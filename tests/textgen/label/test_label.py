import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from clock_crops import SPEC, countdown, draw_crop, read_table, write_crops
from conftest import ROOT

from textgen.common.errors import UserError
from textgen.dataset.labels_file import read_classes
from textgen.footage.sequence import open_sequence
from textgen.label import rapidocr
from textgen.label.corrections import Correction, read_corrections
from textgen.label.labelling import label_crops, write_labelling
from textgen.label.main import main
from textgen.label.page import render_page
from textgen.label.readers import ReaderSettings, make_reader
from textgen.spec.parser import Spec

needs_rapidocr = pytest.mark.skipif(find_spec("rapidocr_onnxruntime") is None, reason="its model is not installed")
needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="it is not installed")
GAME = ["game=lol_time", "game.spec=M:SS", "game.label=SS", "game.fields={M: 0..9, S: 00..59}"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "textgen.label", *GAME, *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["label", *GAME, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@needs_rapidocr
def test_the_command_labels_the_crops_of_a_clock(tmp_path: Path) -> None:
    shown = [*countdown(65, 40), *[""] * 10]
    files = write_crops(tmp_path, shown)
    draw_crop("GOLD", 16).save(tmp_path / files[16])  # covered for a moment
    ended = run(f"crops={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("50 of 50 crops have a label, 1 of them another one than was read, 0 are doubtful,")
    labels = read_table(tmp_path / "labels.csv")
    assert [row["file"] for row in labels] == files
    assert [row["text"] for row in labels] == [text or "other" for text in shown]
    assert [name for _, name in read_classes(tmp_path / "labels.csv", SPEC)] == [text[2:] or "other" for text in shown]
    assert read_table(tmp_path / "doubtful.csv") == []
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert page.count('class="crop"') == 50
    assert 'src="http' not in page  # nothing is loaded


@needs_rapidocr
def test_an_ended_process_loses_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_crops(tmp_path, countdown(65, 60))
    environment, cache = {**os.environ, "PYTHONPATH": str(ROOT)}, tmp_path / "readings.jsonl"
    with subprocess.Popen(command(f"crops={tmp_path}"), env=environment, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (cache.is_file() and cache.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = cache.read_bytes()
    assert not (tmp_path / "labels.csv").exists()
    cache.write_bytes(before + b'{"crop": "cut off')
    assert call(monkeypatch, f"crops={tmp_path}") == 0
    after = cache.read_bytes()
    assert after.startswith(before)
    crops = [json.loads(line)["crop"] for line in after.splitlines() if line.endswith(b"}")]
    assert len(crops) == len({*crops})  # none was read twice
    assert [row["text"] for row in read_table(tmp_path / "labels.csv")] == countdown(65, 60)
    begin = cache.stat().st_mtime_ns
    assert call(monkeypatch, f"crops={tmp_path}") == 0
    assert cache.stat().st_mtime_ns == begin


@needs_tesseract
def test_tesseract_reads_crops(tmp_path: Path) -> None:
    shown = countdown(65, 20)
    write_crops(tmp_path, shown)
    labelling = label_crops(tmp_path, SPEC, make_reader("tesseract", ReaderSettings(SPEC)))
    assert len(labelling.labels) >= 15
    assert all(label.text == shown[label.frame] for label in labelling.labels)


def test_an_engine_that_is_missing_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_crops(tmp_path, countdown(9, 3))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call(monkeypatch, f"crops={tmp_path}", "reader=tesseract") == 2
    error = capsys.readouterr().err
    assert "needs the program tesseract" in error
    assert "apt-get install tesseract-ocr" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.csv", "timer"]


def test_a_model_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapidocr, "PACKAGE", "no-such-package")
    with pytest.raises(UserError) as raised:
        make_reader("rapidocr", ReaderSettings(SPEC))
    assert raised.value.summary.endswith(
        "not installed: pip install onnxruntime && pip install --no-deps --ignore-requires-python"
        " rapidocr-onnxruntime==1.4.4"
    )


def test_a_table_of_texts_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = countdown(65, 30)
    files = write_crops(tmp_path / "crops", shown)
    texts = [*shown[:5], "O:l9", *shown[6:28]]  # a slip within a second; two crops have no text
    lines = [f"{file},{text}\n" for file, text in zip(files, texts, strict=False)]
    (tmp_path / "texts.csv").write_text("file,text\n" + "".join(lines), encoding="utf-8")
    settings = [f"crops={tmp_path / 'crops'}", "reader=file", f"file={tmp_path / 'texts.csv'}", "page=false"]
    assert call(monkeypatch, *settings) == 0
    assert [row["text"] for row in read_table(tmp_path / "crops" / "labels.csv")] == shown[:28]
    assert not (tmp_path / "crops" / "labels.html").exists()


def test_corrections_go_before_readings(tmp_path: Path) -> None:
    shown = countdown(65, 30)
    files = write_crops(tmp_path, shown)
    readings = {file: "0:47" if at == 9 else text for at, (file, text) in enumerate(zip(files, shown, strict=True))}
    said = {files[0]: "1:33", files[1]: None, files[2]: "", files[9]: shown[9]}
    corrections = {file: Correction(text, "corrections.csv, line 2,") for file, text in said.items()}
    labelling = label_crops(tmp_path, SPEC, readings, corrections=corrections)
    texts = {label.file: label.text for label in labelling.labels}
    assert [texts.get(file) for file in files] == ["1:33", None, "", *shown[3:]]
    assert labelling.left_out == (files[1],)
    page = render_page(labelling, SPEC.classes, corrections, "<b>&", "label 'x'")
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("file,text\ntimer/0000000.png,0:99\n", "line 2, has the text '0:99', which the spec 'M:SS' does not describe"),
        ("file,text\nnothing.png,0:12\n", "line 2, names 'nothing.png', which is none of these crops"),
        ("file,text,action\ntimer/0000000.png,,drop\n", "line 2, has the action 'drop'"),
        ("name,text\n", "has the columns name, text: it needs file and text"),
        ("file,text\ntimer/0000000.png\n", "line 2, has another number of fields"),
    ],
)
def test_a_table_of_corrections_that_is_wrong_is_refused(tmp_path: Path, table: str, problem: str) -> None:
    files = write_crops(tmp_path, countdown(9, 2))
    (tmp_path / "corrections.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        label_crops(tmp_path, SPEC, {files[0]: "0:09"}, corrections=read_corrections(tmp_path / "corrections.csv"))
    assert problem in raised.value.summary


def test_one_region_of_several_is_labelled_in_its_own_folder(tmp_path: Path) -> None:
    shown = countdown(65, 12)
    write_crops(tmp_path, shown, regions=("timer", "speed"))
    with pytest.raises(UserError, match=r"holds the regions speed, timer: give one of them as region=…"):
        open_sequence(tmp_path, None)
    with pytest.raises(UserError, match="region=score"):
        open_sequence(tmp_path, "score")
    names = [path.name for path in open_sequence(tmp_path, "speed").files]
    labelling = label_crops(tmp_path, SPEC, dict(zip(names, shown, strict=True)), region="speed")
    labels, doubtful = write_labelling(labelling)
    assert labels == tmp_path / "speed" / "labels.csv"
    assert [row["file"] for row in read_table(labels)] == names
    assert read_table(doubtful) == []


def test_pictures_without_an_index_are_read_each_by_itself(tmp_path: Path) -> None:
    for at, text in enumerate(["0:12", "3:45"]):
        draw_crop(text, at).save(tmp_path / f"{at}.png")
    labelling = label_crops(tmp_path, SPEC, {"0.png": "0:12", "1.png": "3:45"}, kind="clock")
    assert [label.text for label in labelling.labels] == ["0:12", "3:45"]
    assert labelling.kind == "none"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["crops=nowhere"], "crops=nowhere is no folder"),
        (["crops=.", "reader=rapidoc"], "reader=rapidoc: there is no such reader; known are"),
        (["crops=.", "reader=file"], "reader=file takes a table as file=…"),
        (["crops=.", "file=x.csv"], "reader=file takes a table as file=…, and other readers take none"),
        (["crops=.", "reader=network"], "reader=network takes the network's run as run=…"),
        (["crops=.", "reader=tesseract", "run=x"], "reader=tesseract takes no run"),
        (["crops=.", "kind=watch"], "kind"),
    ],
)
def test_bad_settings_end_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    write_crops(tmp_path, ["0:12"])
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_all_fields_of_a_clock_are_labelled_as_one(tmp_path: Path) -> None:
    shown = [*countdown(65, 80), *[""] * 10]  # the minutes change at the 60th crop
    files = write_crops(tmp_path, shown)
    texts = dict(zip(files, shown, strict=True)) | {files[47]: "9:01"}  # a slip in the minutes
    joint = Spec.parse("M:SS", label="text", fields={"M": "0..9", "S": "00..59"})
    labelling = label_crops(tmp_path, joint, texts)
    assert labelling.kind == "clock"
    assert [label.text or "other" for label in labelling.labels] == [text or "other" for text in shown]
    assert label_crops(tmp_path, joint, texts, kind="counter").kind == "counter"
    ammo = Spec.parse("N/M", label="text", fields={"N": "0..9", "M": "0..9"})
    assert label_crops(tmp_path, ammo, {}).kind == "counter"
    with pytest.raises(UserError, match="N, M are not the fields of one clock"):
        label_crops(tmp_path, ammo, {}, kind="clock")
