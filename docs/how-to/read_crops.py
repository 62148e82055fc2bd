"""python read_crops.py model.onnx crops/: the text of each PNG of a folder. Needs foldtext, onnxruntime, Pillow."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from textgen import UserError, read_picture
from textgen.spec.label_fields import LabelFields

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", type=Path, help="the file that train.export wrote")
parser.add_argument("crops", type=Path, help="a folder of PNG files of the game's size")
given = parser.parse_args()
try:
    session = onnxruntime.InferenceSession(given.model.read_bytes(), providers=["CPUExecutionProvider"])
except Exception as error:  # onnxruntime raises a different class for each kind of error
    sys.exit(f"{given.model} is no ONNX file that can be read: {error}")
about = session.get_modelmeta().custom_metadata_map
classes, (height, width) = json.loads(about["classes"]), json.loads(about["size"])
# Several fields have a softmax each, side by side in a row; one field without a text of its own has no "label".
fields = LabelFields.parse(json.loads(about["label"])) if "label" in about else LabelFields.single(classes)
paths = sorted(given.crops.glob("*.png"))
if not paths:
    sys.exit(f"{given.crops} holds no .png: give a folder of crops")
crops = np.empty((len(paths), height, width, 3), np.uint8)  # RGB, 0 to 255
for at, path in enumerate(paths):
    try:
        crop = read_picture(path)
    except UserError as error:
        sys.exit(error.summary)
    if crop.shape[:2] != (height, width):
        sys.exit(f"{path} is {crop.shape[0]}×{crop.shape[1]}, the network reads {height}×{width}: resize or crop it")
    crops[at] = crop
labels, probabilities = session.run(["labels", "probabilities"], {"crops": crops})
firsts = [of.start for of in fields.slices]
for path, label, row in zip(paths, labels.reshape(len(labels), -1).tolist(), probabilities, strict=True):
    probability = np.prod([row[first + number] for first, number in zip(firsts, label, strict=True)])
    print(path.name, fields.name_of(label), f"{probability:.3f}", sep="\t")
