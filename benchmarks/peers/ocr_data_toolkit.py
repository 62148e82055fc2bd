"""ocr-data-toolkit. The crop's size follows from the text; the toolkit then scales and pads it to ours."""

import random

from ocr_data_toolkit.generators import ENGenerator
from ocr_data_toolkit.helper.utils import resize_and_pad_image


def batches(job):
    """Pillow images. Four of five have a picture as ground, the others white: that is no setting."""
    height, width = job["size"]
    look = {
        "font_size": job["em"],
        "text_colors": ["#c8aa6e", "#f0e6d2", "#e8c878"],
        "margin_x": (0.5, 1.0),
        "margin_y": (0.1, 0.2),
        "blur_probs": {"gaussian": 0.5, "custom_blurs": 0},  # the others leave nothing legible of so small a text
        "moire_prob": 0,
        "opacity_prob": 0,
        "perspective_transform_prob": 0,
    }
    generator = ENGenerator(job["texts"], {"text": 1}, job["fonts"], job["piece_files"], look)
    while True:
        _, image = generator(random.choice(job["texts"]))
        yield [resize_and_pad_image(image, (width, height))]
