"""SynthTIGER's layers and components in a template of our own, which does no more than the job asks for.

The components are called directly: SynthTIGER's loop around them would seed three generators anew for every image.
"""

import random

import numpy as np
from synthtiger import components, layers


def batches(job):
    """Arrays uint8 (H, W, 3)."""
    height, width = job["size"]
    fill = components.RGB(rgb=((200, 240), (170, 230), (110, 210)))
    ground = components.RGB(rgb=((16, 16), (24, 24), (32, 32)))
    texture = components.BaseTexture(paths=[job["pieces"]], weights=[1], crop=1)
    shadow = components.TextShadow(distance=(1, 1), angle=(-60, -30), alpha=(0.4, 0.9))
    outline = components.TextBorder(size=(1, 1), rgb=((0, 0), (0, 0), (0, 0)))
    noise = components.AdditiveGaussianNoise(scale=(2, 8))
    while True:
        for string in job["texts"]:
            text = layers.TextLayer(string, random.choice(job["fonts"]), job["em"])
            fill.apply([text])
            if job["full"]:
                random.choice((shadow, outline)).apply([text])
            text.topleft = [random.randint(0, max(int(width - text.width), 0)), int(height - text.height) // 2]
            back = layers.RectLayer((width, height))
            (texture if job["full"] else ground).apply([back])
            crop = layers.Layer((text + back).output(bbox=[0, 0, width, height]))
            if job["full"]:
                noise.apply([crop])
            yield [crop.image[..., :3].astype(np.uint8)]
