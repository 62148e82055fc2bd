"""From a video file to a run: the command's parts together, small."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import composed
from counters import count_down, record

from textgen.common.errors import UserError
from textgen.common.pictures import read_picture
from textgen.common.validation import validate
from train.adapt.adapt import adapt
from train.adapt.footage import cut_counter
from train.adapt.settings import Settings
from train.inference.network import load

SIZE = (14, 28)
GAME = {
    **{"name": "clock", "spec": "M:SS", "label": "S", "fields": {"M": "0..9", "S": "00..59"}, "size": list(SIZE)},
    **{"arch": "C8 M B M F", "images": {"train": 4, "val": 1, "test": 1}, "backgrounds": [{"source": "noise"}]},
    "text": {"fonts": ["oswald"], "height": [7, 10]},
}
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("region", "start", "end", "crops", "file", "corrections", "kind", "run", "real_test", "out")),
    **{"every": 1, "reader": "file", "looks": "game", "fold": 1, "images": 2000, "real_share": 0.6, "seed": 0},
    **{"fresh": False, "device": "cpu", "threads": 1},
}
REGION = [10, 6, 92, 44]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 160×64 pixels at 10 frames a second, in which a clock counts down, and a table of its crops."""
    folder = tmp_path_factory.mktemp("clip")
    texts, _ = count_down(29, 12)
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
        for crop in record(texts):
            frame = np.full((64, 160, 3), 90, np.uint8)
            frame[6:50, 10:102] = crop
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    rows = [f"timer/{at:07d}.png,{text}\n" for at, text in enumerate(texts)]
    (folder / "texts.csv").write_text("file,text\n" + "".join(rows))
    return folder / "clip.mp4"


def settings_of(clip: Path, folder: Path, **changes: Any) -> Settings:
    given = {"source": str(clip), "regions": {"timer": REGION}, "file": str(clip.with_name("texts.csv"))}
    places = {"runs": str(folder), "data_dir": str(folder)}
    return validate(Settings, {**DEFAULTS, **given, **places, **changes})


def groups() -> dict[str, Any]:
    config = composed("game=sot_time", "augment=off")
    return {"game": GAME, "augment": config["augment"], "model": config["model"]}


def test_a_run_comes_from_a_video_and_another_run_goes_on_from_it(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    result = adapt(settings_of(clip, tmp_path, out=str(out)), groups())
    assert result["tests"]["real"]["images"] > 5
    assert result["real"]["train"] > 80
    said = capsys.readouterr()
    assert said.out.startswith("clock fold=1: accuracy on real crops")
    assert "120 of 120 crops have a label" in said.err
    record = json.loads((out / "adapt.json").read_text())
    assert set(record["seconds"]) == {"cut", "label", "train"}
    (crops,) = tmp_path.glob("crops_clock_*")
    assert {"index.csv", "labels.csv", "doubtful.csv", "labels.html"} <= {path.name for path in crops.iterdir()}

    again = adapt(settings_of(clip, tmp_path, out=str(out)), groups())
    assert again == result  # nothing is done twice
    assert "are there already" in capsys.readouterr().err

    with pytest.raises(UserError, match=r"game=watch is not as that of run="):
        adapt(settings_of(clip, tmp_path, run=str(out)), {"game": {**GAME, "name": "watch"}})
    further = adapt(settings_of(clip, tmp_path, run=str(out), images=600, out=str(tmp_path / "further")), {})
    assert further["start"] == str(out)
    assert further["recipe"] == "finetune"
    assert load(tmp_path / "further").size == SIZE


def test_a_network_for_the_whole_text_comes_from_a_video(clip: Path, tmp_path: Path) -> None:
    result = adapt(settings_of(clip, tmp_path), {**groups(), "game": {**GAME, "label": "text"}})
    assert list(result["fields"]) == list(result["tests"]["real"]["fields"]) == ["M", "S"]
    assert result["real"]["train"] > 80


def test_labels_that_no_network_can_give_are_refused_before_one_is_trained(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a network for S cannot label: they do not decide the text of 'M:SS'"):
        adapt(settings_of(clip, tmp_path, reader="network", file=None), {**groups(), "game": {**GAME, "label": ["S"]}})
    assert not list(tmp_path.glob("clock_f1_*"))


def test_footage_ends_where_it_is_said_to(clip: Path, tmp_path: Path) -> None:
    table = tmp_path / "few.csv"
    table.write_text("".join(clip.with_name("texts.csv").read_text().splitlines(keepends=True)[:61]))
    result = adapt(settings_of(clip, tmp_path, end=6, images=300, file=str(table)), groups())
    assert sum(result["real"][use] for use in ("train", "val", "test")) <= 60


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"regions": {"timer": [100, 6, 92, 44]}}, "timer"),
        ({"source": "nowhere.mp4"}, "nowhere.mp4"),
        ({"reader": "network", "file": None, "run": "nowhere"}, "nowhere"),
        ({"region": "score"}, "score"),
        ({"crops": "the clip's folder"}, "crops=.* holds other things than crops of textgen.cut: give a new or empty"),
        ({"source": "nowhere.mp4", "device": "cuda:99"}, "device=cuda:99 cannot be used"),
        ({"source": "nowhere.mp4", "real_test": "nowhere"}, "real_test=nowhere is no folder"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    changes: dict[str, Any], problem: str, clip: Path, tmp_path: Path
) -> None:
    changes = {key: str(clip.parent) if value == "the clip's folder" else value for key, value in changes.items()}
    with pytest.raises(UserError, match=problem) as caught:
        adapt(settings_of(clip, tmp_path, **changes), groups())
    assert "\n" not in str(caught.value)


def test_crops_are_cut_anew_from_another_recording_and_for_other_regions(clip: Path, tmp_path: Path) -> None:
    video, regions = tmp_path / "clip.mp4", tmp_path / "regions.yaml"
    video.write_bytes(clip.read_bytes())
    regions.write_text(f"timer: {REGION}\n")
    settings = settings_of(video, tmp_path, regions=str(regions), file=None, reader="network", end=1)
    folders = [cut_counter(settings, "clock"), cut_counter(settings, "clock")]
    regions.write_text("timer: [12, 8, 40, 20]\n")
    folders.append(cut_counter(settings, "clock"))
    os.utime(video, (1, 1))
    folders.append(cut_counter(settings, "clock"))
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert read_picture(folders[2] / "timer/0000000.png").shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"reader": "rapidocr"}, "reader=file takes a table"),
        ({"source": None}, "give source=… and regions=…, or crops=…"),
        ({"real_share": 0}, "real_share"),
        ({"every": 0}, "every"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], problem: str, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        settings_of(clip, tmp_path, **changes)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["source=nowhere.mp4", "regions={timer: [0,0,9,9]}"], "which game? give game=…, or run=…"),
        (["game=sot_time", "source=nowhere.mp4", "regions={timer: [0,0,9,9]}"], "nowhere.mp4"),
        (["game=sot_time"], "give source=… and regions=…, or crops=…"),
    ],
)
def test_the_command_says_in_one_line_what_is_missing(given: list[str], problem: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "train.adapt", *given], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ended.returncode == 2
    assert problem in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
