"""A counter of four squares, black or white, and networks that read it by construction: exact, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import yaml
from pydantic import TypeAdapter

from textgen.common.array_types import U8
from train.predict.settings import Settings

if TYPE_CHECKING:
    from train.inference.network import Network

ARCH, POOL = "C4 F", "2x2 stride 2"
SIZE, FRAME = (8, 32), (96, 160)  # height, width
CLASSES = (*map(str, range(15)), "other")
LEFT, RIGHT = [8, 16, 64, 16], [80, 56, 64, 16]  # regions of a frame, left, top, width, height
GAIN = 40.0


def draw(value: int, width: int = 64, height: int = 16) -> U8:
    """The squares of a value, 0 to 15."""
    bits = [value >> bit & 1 for bit in range(4)]
    return np.repeat(np.repeat(np.array(bits, np.uint8), width // 4)[None], height, 0)[..., None].repeat(3, 2) * 255


def frame(left: int, right: int = 0, number: int = 0) -> U8:
    picture = np.full((*FRAME, 3), (60, 100 + number % 40, 90), np.uint8)
    for (x, y, width, height), value in ((LEFT, left), (RIGHT, right)):
        picture[y : y + height, x : x + width] = draw(value)
    return picture


def write_video(path: Path, values: Sequence[tuple[int, int]], rate: int = 30, gop: int = 12) -> Path:
    """Frames with two values each, H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = FRAME[1], FRAME[0], "yuv420p"
        stream.codec_context.gop_size = gop
        for number, (left, right) in enumerate(values):
            picture = av.VideoFrame.from_ndarray(frame(left, right, number), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def network_of(fold: int = 1) -> Network:
    """Class k has the logit that counts the squares which are as in k; with fold > 1, slots of such a network."""
    import torch  # noqa: PLC0415, not for processes that only predict

    from train.folding.slots import assemble_slots  # noqa: PLC0415
    from train.inference.network import Network  # noqa: PLC0415
    from train.models.notation import build, parse  # noqa: PLC0415

    layers = parse(ARCH, POOL)
    build_for = {"size": SIZE, "classes": len(CLASSES)}
    single = build(layers, **build_for, slot_of=fold)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in single.parameters():
            parameter.zero_()
        conv, linear = single.conv1, single.linear1
        conv.weight[0, :, 1, 1] = 1 / 3  # type: ignore[index] # the grey of each pixel, black and below is 0
        weight = linear.weight.view(len(CLASSES), conv.weight.shape[0], *SIZE)  # type: ignore[union-attr, operator]
        for value in range(len(CLASSES)):
            for bit in range(4):
                sign = 1 if value >> bit & 1 else -1
                weight[value, 0, :, 8 * bit : 8 * bit + 8] = sign * GAIN / 64
                linear.bias[value] += 0 if sign > 0 else GAIN  # type: ignore[index, operator]
    if fold == 1:
        net = single
    else:
        net = build(layers, **build_for, fold=fold)  # type: ignore[arg-type]
        assemble_slots(single, net, fold)
    return Network(net.eval(), ARCH, POOL, SIZE, CLASSES, fold)


def save_run(folder: Path, fold: int = 1, spec: str = "N", **result: Any) -> Path:
    """A run's folder as training writes it, as far as predictions need it."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(network_of(fold).to_bytes())
    (folder / "result.json").write_text(json.dumps({"game": "bits", "unsure_below": 0.5, **result}))
    game = {"spec": spec, "label": "N", "fields": {"N": "0..14"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"game": game, "recipe": {}}))
    return folder


def settings(run: Any, source: Path | str, regions: Any, out: Path, **changes: Any) -> Settings:
    given = {
        **{"run": run, "source": str(source), "regions": regions, "out": out, "overwrite": False},
        **{"smoothing": "none", "threshold": "auto", "changes": False, "join": None, "every": 1, "start": None},
        **{"end": None, "rate": None, "annotate": None, "engine": "auto", "device": "cpu", "threads": 1},
    }
    return TypeAdapter(Settings).validate_python({**given, **changes})
