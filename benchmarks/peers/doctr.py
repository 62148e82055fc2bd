"""docTR: the function behind its WordGenerator, which itself takes neither strings, a font size nor colours."""

import random

import torch

try:
    import torchvision  # noqa: F401  # docTR imports it for one conversion
except RuntimeError:  # built for CUDA beside a PyTorch without it: two operators are missing that nothing here calls
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from doctr.datasets.generator.base import synthesize_text_img


def batches(job):
    """Pillow images, whose size follows from the text."""
    while True:
        for text in job["texts"]:
            font = random.choice(job["fonts"])
            yield [synthesize_text_img(text, job["em"], font, (16, 24, 32), (232, 200, 120))]
