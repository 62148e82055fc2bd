"""The HTML page on which regions are drawn: frames of the footage, and what draws, names and copies regions.

The page is one self-contained file. The template escapes all texts, those of the user included.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence

import cv2
import numpy as np

from textgen.common.html_templates import load_template
from textgen.footage.frames import Frame
from textgen.footage.regions import Region

MAX_WIDTH = 1920  # pixels of a frame on the page; wider ones are scaled down
QUALITY = 90  # of JPEG


def render_page(source: str, frames: Sequence[Frame], regions: Sequence[Region] = ()) -> str:
    """Render the page with `frames`, all of one size, of `source`. It begins with `regions`."""
    height, width = frames[0].size
    data = {
        "width": width,
        "height": height,
        "frames": [{"index": frame.index, "time": round(frame.time, 3)} for frame in frames],
        "regions": [
            {"name": region.name, "box": [region.left, region.top, region.width, region.height]} for region in regions
        ],
        "source": shlex.quote(f"source={source}"),
    }
    return load_template("textgen.regions", "page.html").render(
        source=source,
        data=data,
        pictures=[_encode(frame) for frame in frames],
        width=width,
        height=height,
    )


def _encode(frame: Frame) -> str:
    """A frame as the text of a data: URL."""
    picture = frame.rgb()[:, :, ::-1]
    height, width = frame.size
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
