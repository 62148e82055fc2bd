"""Compare the frames that the reader of footage gives with those of OpenCV, which brings a decoder of its own.

    python -m benchmarks.noscope.decode clip.mp4 [other.avi …]

Prints for each clip the frames that its container declares, those that both decode, and by how much pixels differ.
"""

import sys

import cv2
import numpy as np

from textgen.footage.frames import open_frames


def compare(path: str) -> str:
    """One line about a clip."""
    capture, differences, largest = cv2.VideoCapture(path), [], 0
    with open_frames(path) as reader:
        for frame in reader:
            there, other = capture.read()
            if not there:
                return f"{path}: OpenCV ends before frame {frame.index}"
            difference = np.abs(frame.rgb().astype(np.int16) - other[..., ::-1])
            differences.append(float(difference.mean()))
            largest = max(largest, int(difference.max()))
        declared = reader.frames
    if capture.read()[0]:
        return f"{path}: OpenCV goes on after frame {len(differences) - 1}"
    mean = np.mean(differences)
    return (
        f"{path}: declared {declared}, both decode {len(differences)}; pixels differ by {mean:.2f}, {largest} at most"
    )


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(compare(given))
