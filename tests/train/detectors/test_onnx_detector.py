"""Detectors in ONNX files: every layout of outputs, letterboxing, and files that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import ANCHORS, SIZE, boxes_to_centres, write_echo, write_model

from textgen.common.errors import UserError
from train.detectors.detection import Detection, Detector
from train.detectors.load import load_detector

NAMES = "{0: 'person', 1: 'car', 2: 'dog'}"
FRAME = np.full((*SIZE, 3), 90, np.uint8)  # as large as the input: boxes stay where they are
# Two people, one of them twice, and a car where the second person is.
BOXES = np.array([[10, 8, 30, 40], [11, 9, 31, 41], [50, 20, 70, 60], [50, 20, 70, 60]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
CLASSES = np.array([0, 0, 0, 1])
WANTED = [("person", 0.9, (10, 8, 30, 40)), ("person", 0.7, (50, 20, 70, 60)), ("car", 0.6, (50, 20, 70, 60))]


def of(detector: Detector, frame: Any = FRAME) -> list[tuple[str, float, tuple[int, ...]]]:
    (found,) = detector([frame])
    assert all(isinstance(each, Detection) for each in found)
    return [(each.object_name, round(each.confidence, 3), tuple(map(round, each[2:]))) for each in found]


def scattered(columns: int, count: int = ANCHORS) -> Any:
    """The four objects somewhere among `count` boxes, (count, columns), with centres and sizes."""
    values = np.zeros((count, columns), np.float32)
    values[[3, 40, 77, 125], :4] = boxes_to_centres(BOXES)
    return values


def with_scores(values: Any, first: int) -> Any:
    values[[3, 40, 77, 125], first + CLASSES] = SCORES
    return values


def test_classes_first_as_yolov8(tmp_path: Path) -> None:
    output = with_scores(scattered(4 + 3), 4).T[None].copy()
    path = write_model(tmp_path / "v8.onnx", {"output0": output}, metadata={"names": NAMES})
    detector = load_detector(str(path))
    assert detector.objects == ("person", "car", "dog")
    assert of(detector) == WANTED
    assert of(load_detector(str(path), confidence=0.65)) == WANTED[:2]
    close = [WANTED[0], ("person", 0.8, (11, 9, 31, 41)), *WANTED[1:]]
    assert of(load_detector(str(path), overlap=0.95)) == close
    other = load_detector(str(path), names=("a", "b", "c"))
    assert [name for name, *_ in of(other)] == ["a", "a", "b"]


def test_classes_first_with_masks(tmp_path: Path) -> None:
    output = with_scores(scattered(4 + 3 + 32), 4)
    output[:, 7:] = 50.0  # coefficients of masks are no scores
    outputs = {"output0": output.T[None].copy(), "output1": np.zeros((1, 32, 16, 24), np.float32)}
    path = write_model(tmp_path / "seg.onnx", outputs, metadata={"names": NAMES})
    assert of(load_detector(str(path))) == WANTED
    path = write_model(tmp_path / "unnamed.onnx", outputs)
    assert [name for name, *_ in of(load_detector(str(path)))] == ["class 0", "class 0", "class 1"]


@pytest.mark.parametrize("count", [ANCHORS, 3 * ANCHORS])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_objectness_as_yolov5_and_yolox(tmp_path: Path, count: int, classes: int) -> None:
    output = scattered(5 + classes, count)
    numbers = CLASSES if classes > 1 else np.zeros(4, int)
    output[[3, 40, 77, 125], 4] = 0.5
    output[[3, 40, 77, 125], 5 + numbers] = SCORES
    path = write_model(tmp_path / "v5.onnx", {"output": output[None]})
    found = of(load_detector(str(path)))
    wanted = [(f"class {int(name == 'car')}", round(score / 2, 3), box) for name, score, box in WANTED]
    assert found == (wanted if classes > 1 else wanted[:2])


def test_final_boxes_as_yolov10(tmp_path: Path) -> None:
    output = np.concatenate([BOXES, SCORES[:, None], CLASSES[:, None]], 1)[None].astype(np.float32)
    path = write_model(tmp_path / "v10.onnx", {"output0": output}, metadata={"names": NAMES})
    found = of(load_detector(str(path)))
    assert found == [WANTED[0], ("person", 0.8, (11, 9, 31, 41)), *WANTED[1:]]  # nothing is suppressed


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("fractions", [True, False])
def test_boxes_scores_and_labels_by_name(tmp_path: Path, batch: bool, fractions: bool) -> None:
    boxes = BOXES / np.array([SIZE[1], SIZE[0]] * 2, np.float32) if fractions else BOXES
    outputs: dict[str, Any] = {"labels": CLASSES.astype(np.int64), "boxes": boxes, "scores": SCORES}
    outputs = {name: value[None] if batch else value for name, value in outputs.items()}
    path = write_model(tmp_path / "ssd.onnx", outputs, shape=(1, 3, *SIZE) if batch else (3, *SIZE))
    found = of(load_detector(str(path), names=("person", "car")))
    assert found == [WANTED[0], ("person", 0.8, (11, 9, 31, 41)), *WANTED[1:]]


def test_boxes_as_tensorflow_names_them(tmp_path: Path) -> None:
    upright = BOXES[:, [1, 0, 3, 2]] / np.array([SIZE[0], SIZE[1]] * 2, np.float32)
    outputs: dict[str, Any] = {
        "num_detections": np.array([4], np.float32),
        "raw_detection_boxes": np.zeros((1, 9, 4), np.float32),
        "detection_boxes": upright[None],
        "detection_classes": CLASSES[None].astype(np.float32),
        "detection_scores": SCORES[None],
    }
    shape = [1, "height", "width", 3]
    path = write_model(tmp_path / "tf.onnx", outputs, shape=shape, kind=TensorProto.UINT8)
    assert [box for *_, box in of(load_detector(str(path)))] == [tuple(map(int, box)) for box in BOXES]


def test_boxes_with_scores_as_mmdeploy(tmp_path: Path) -> None:
    outputs = {"dets": np.concatenate([BOXES, SCORES[:, None]], 1)[None], "labels": CLASSES[None].astype(np.int64)}
    path = write_model(tmp_path / "mm.onnx", outputs)
    assert [(score, box) for _, score, box in of(load_detector(str(path)))][::3] == [
        (0.9, (10, 8, 30, 40)),
        (0.6, (50, 20, 70, 60)),
    ]


def test_the_size_of_the_original_is_given_to_models_that_ask(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["zeros", "size"], ["flat"], axis=1),
        helper.make_node("Reshape", ["flat", "shape"], ["boxes"]),
        helper.make_node("Identity", ["one_score"], ["scores"]),
        helper.make_node("Identity", ["one_label"], ["labels"]),
    ]
    arrays: dict[str, Any] = {
        "zeros": np.zeros((1, 2), np.float32),
        "shape": np.array([1, 1, 4], np.int64),
        "one_score": np.array([[0.5]], np.float32),
        "one_label": np.zeros((1, 1), np.int64),
    }
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, *SIZE)),
        helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, (1, 2)),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("boxes", "scores")]
    outputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, None))
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    path = tmp_path / "rtdetr.onnx"
    path.write_bytes(model.SerializeToString())
    assert of(load_detector(str(path))) == [("class 0", 0.5, (0, 0, 96, 64))]


def test_a_frame_of_another_size_is_letterboxed(tmp_path: Path) -> None:
    path = write_echo(tmp_path / "echo.onnx", (1, 3, *SIZE))
    frame = np.full((30, 90, 3), (200, 0, 0), np.uint8)  # 96 by 32 pixels of the input, 16 of gray above and below
    ((found,),) = load_detector(str(path), confidence=0)([frame])
    assert found[2:] == pytest.approx((0, 0, 90, 30), abs=1e-3)
    assert found.confidence == pytest.approx((200 / 2 + 114 / 2) / 255, abs=1e-3)


def test_order_and_range_of_pixels(tmp_path: Path) -> None:
    path = str(write_echo(tmp_path / "echo.onnx", (1, 3, *SIZE)))
    frame = np.full((*SIZE, 3), (204, 0, 51), np.uint8)
    assert of(load_detector(path), frame)[0][1] == 0.8
    assert of(load_detector(path, channels="bgr", confidence=0), frame)[0][1] == 0.2
    bright = np.zeros((*SIZE, 3), np.uint8)
    bright[: SIZE[0] // 2] = 1
    assert of(load_detector(path, pixels=255), bright)[0][1] == 0.5


@pytest.mark.parametrize(
    ("metadata", "size", "scaled", "wanted"),
    [
        ({}, None, (107, 192), (128, 192)),  # the next multiples of 32
        ({"imgsz": "[64, 64]"}, None, (36, 64), (64, 64)),  # those that the longest side is scaled to
        ({"imgsz": "[64, 64]"}, (96, 160), (89, 160), (96, 160)),  # as the user says
    ],
)
def test_sizes_that_a_model_leaves_open(
    tmp_path: Path, metadata: dict[str, str], size: Any, scaled: tuple[int, int], wanted: tuple[int, int]
) -> None:
    path = write_echo(tmp_path / "echo.onnx", [1, 3, "height", "width"], metadata)
    frame = np.full((100, 180, 3), 255, np.uint8)
    ((found,),) = load_detector(str(path), confidence=0, size=size)([frame])
    share = np.prod(scaled) / np.prod(wanted)  # of the input that the frame covers, the rest is gray
    assert found.confidence == pytest.approx(share + (1 - share) * 114 / 255, abs=1e-3)
    assert found[2:] == pytest.approx((0, 0, 180, 100), abs=1e-3)


def test_half_precision_and_bytes(tmp_path: Path) -> None:
    for kind in (TensorProto.FLOAT16, TensorProto.UINT8):
        output = with_scores(scattered(4 + 3), 4).T[None].copy()
        path = write_model(tmp_path / f"{kind}.onnx", {"output0": output}, kind=kind, metadata={"names": NAMES})
        assert of(load_detector(str(path))) == WANTED


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    output = with_scores(scattered(4 + 3), 4)
    output[3, 0], output[40, 4], output[77, 2] = np.nan, np.nan, np.inf
    path = write_model(tmp_path / "nan.onnx", {"output0": output.T[None].copy()}, metadata={"names": NAMES})
    assert of(load_detector(str(path))) == WANTED[2:]


@pytest.mark.parametrize(
    "names", ["__import__('os').system('x')", "[" * 5000, "{0: 1}", "{7: 'a'}", "'" * 9, "{0: 'a'", "3", "[['a']]"]
)
def test_a_list_of_names_that_is_none_is_not_used(tmp_path: Path, names: str) -> None:
    output = with_scores(scattered(4 + 3), 4).T[None].copy()
    path = write_model(tmp_path / "model.onnx", {"output0": output}, metadata={"names": names})
    detector = load_detector(str(path))
    assert detector.objects is None
    assert [name for name, *_ in of(detector)] == ["class 0", "class 0", "class 1"]


def test_names_are_one_line_each(tmp_path: Path) -> None:
    output = with_scores(scattered(4 + 3), 4).T[None].copy()
    names = repr({0: "a\x1b[31m\nb", 1: "", 2: "c"})
    path = write_model(tmp_path / "model.onnx", {"output0": output}, metadata={"names": names})
    assert [name for name, *_ in of(load_detector(str(path)))] == ["a [31m b", "a [31m b", "class 1"]


def refused(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_detector(str(path), **settings)([FRAME])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    assert "is no file" in refused(tmp_path / "missing.onnx")
    for number, content in enumerate((b"", b"no model", b"\x80\x04.", bytes(range(256)) * 40)):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        assert "is no ONNX model" in refused(path)
    whole = write_model(tmp_path / "whole.onnx", {"x": scattered(7).T[None].copy()}).read_bytes()
    for length in range(1, len(whole), 97):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        assert refused(tmp_path / "cut.onnx")


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4))
    path = write_model(tmp_path / "model.onnx", {"output0": scattered(7).T[None].copy()})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    assert "another file" in refused(path)
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    path.write_bytes(model.SerializeToString())
    assert "another file" in refused(path)


def test_outputs_that_fit_nothing(tmp_path: Path) -> None:
    flat = write_model(tmp_path / "flat.onnx", {"logits": np.zeros((1, 1000), np.float32)})
    message = refused(flat)
    assert "'logits' float32 (1, 1000)" in message
    assert "(1, 4 + classes, n)" in message
    two = {"a": np.zeros((1, 7, 126), np.float32), "b": np.zeros((1, 7, 126), np.float32)}
    assert "'b' float32" in refused(write_model(tmp_path / "two.onnx", two))
    wrong = write_model(
        tmp_path / "names.onnx", {"x": np.zeros((1, 10, 126), np.float32)}, metadata={"names": "['a','b']"}
    )
    assert "of 2 classes" in refused(wrong)
    right = write_model(tmp_path / "right.onnx", {"x": np.zeros((1, 7, 126), np.float32)})
    assert "names has 2 names" in refused(right, names=("a", "b"))
    uneven = {"boxes": BOXES, "scores": SCORES[:3], "labels": CLASSES}
    assert "4 boxes, 3 scores" in refused(write_model(tmp_path / "uneven.onnx", uneven))


def test_inputs_that_take_no_frame(tmp_path: Path) -> None:
    output = {"x": scattered(7).T[None].copy()}
    for shape, part in (((1, 1, 64, 96), "one input of pixels"), ((4, 3, 64, 96), "4 frames at once")):
        assert part in refused(write_model(tmp_path / "m.onnx", output, shape=shape))
    assert "at most 8192" in refused(write_model(tmp_path / "m.onnx", output, shape=(1, 3, 10**6, 10**6)))
    other = [helper.make_tensor_value_info("prompt", TensorProto.INT64, (1, 2))]
    assert "'prompt'" in refused(write_model(tmp_path / "m.onnx", output, extra_inputs=other))


def test_settings_that_a_file_does_not_take(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", {"x": scattered(7).T[None].copy()}, kind=TensorProto.UINT8)
    assert "leave size out" in refused(path, size=(32, 32))
    assert "leave pixels out" in refused(path, pixels=1)
