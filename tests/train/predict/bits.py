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
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec
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


def network_of(fold: int = 1, fields: LabelFields | None = None) -> Network:
    """Class k has the logit that counts the squares which are as in k; with fold > 1, slots of such a network.

    `fields` of four classes each read two squares.
    """
    import torch  # noqa: PLC0415, not for processes that only predict

    from train.folding.slots import assemble_slots  # noqa: PLC0415
    from train.inference.network import Network  # noqa: PLC0415
    from train.models.notation import build, parse  # noqa: PLC0415

    layers = parse(ARCH, POOL)
    logits = [(value, {bit: value >> bit & 1 for bit in range(4)}) for value in range(len(CLASSES))]
    if fields:
        numbers = [(2 * field, value) for field, size in enumerate(fields.sizes) for value in range(size)]
        logits = [(at, {first + bit: value >> bit & 1 for bit in (0, 1)}) for at, (first, value) in enumerate(numbers)]
    build_for = {"size": SIZE, "classes": len(logits)}
    single = build(layers, **build_for, slot_of=fold)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in single.parameters():
            parameter.zero_()
        conv, linear = single.conv1, single.linear1
        conv.weight[0, :, 1, 1] = 1 / 3  # type: ignore[index] # the grey of each pixel, black and below is 0
        weight = linear.weight.view(len(logits), conv.weight.shape[0], *SIZE)  # type: ignore[union-attr, operator]
        for number, squares in logits:
            for bit, white in squares.items():
                weight[number, 0, :, 8 * bit : 8 * bit + 8] = (1 if white else -1) * GAIN / 64
                linear.bias[number] += 0 if white else GAIN  # type: ignore[index, operator]
    if fold == 1:
        net = single
    else:
        net = build(layers, **build_for, fold=fold)  # type: ignore[arg-type]
        assemble_slots(single, net, fold)
    return Network(net.eval(), ARCH, POOL, SIZE, fields.classes if fields else CLASSES, fold, label=fields)


def save_run(folder: Path, fold: int = 1, spec: str = "N", **result: Any) -> Path:
    """A run's folder as training writes it, as far as predictions need it."""
    return _save(folder, network_of(fold), {"spec": spec, "label": "N", "fields": {"N": "0..14"}}, result)


def save_run_of_fields(folder: Path, fold: int = 1, spec: str = "M:S", **result: Any) -> Path:
    """A run that reads M and S, each 0 to 2, of two squares, the least bit first; "other" are four white ones."""
    values = {"M": "0..2", "S": "0..2"}
    fields = Spec.parse(spec, label="text", fields=values).fields
    return _save(folder, network_of(fold, fields), {"spec": spec, "label": "text", "fields": values}, result)


def _save(folder: Path, network: Network, game: dict[str, Any], result: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(network.to_bytes())
    (folder / "result.json").write_text(json.dumps({"game": "bits", "unsure_below": 0.5, **result}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"game": game, "recipe": {}}))
    return folder


def settings(run: Any, source: Path | str, regions: Any, out: Path, **changes: Any) -> Settings:
    given = {
        **{"run": run, "source": str(source), "regions": regions, "out": out, "overwrite": False},
        **{"smoothing": "none", "threshold": "auto", "changes": False, "join": None, "every": 1, "start": None},
        **{"end": None, "rate": None, "annotate": None, "engine": "auto", "device": "cpu", "threads": 1},
    }
    return TypeAdapter(Settings).validate_python({**given, **changes})
