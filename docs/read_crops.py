"""python read_crops.py model.onnx crops/: the label of each PNG of a folder; needs onnxruntime, NumPy and Pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes, (height, width) = json.loads(about["classes"]), json.loads(about["size"])
paths = sorted(Path(sys.argv[2]).glob("*.png"))
if not paths:
    sys.exit(f"{sys.argv[2]} holds no .png: give a folder of crops")
crops = np.empty((len(paths), height, width, 3), np.uint8)  # RGB, 0 to 255
for at, path in enumerate(paths):
    image = Image.open(path).convert("RGB")
    if image.size != (width, height):
        sys.exit(f"{path} is {image.width}×{image.height}, the network reads {width}×{height}: resize or crop it")
    crops[at] = np.asarray(image)
labels, probabilities = session.run(["labels", "probabilities"], {"crops": crops})
for path, label, row in zip(paths, labels, probabilities, strict=True):
    print(path.name, classes[label], f"{row[label]:.3f}", sep="\t")
