"""Write scikit-learn's handwritten digits in the format of CIFAR-10, to try `task=cifar10` without CIFAR.

    pip install scikit-learn
    python benchmarks/digits_as_cifar.py cifar-10-batches-py

CIFAR is in no package registry. The 1797 digits (8×8, grey, UCI's test set of optical recognition, in scikit-learn's
wheel) are scaled to 32×32 and coloured at random, two colours an image. 300 of them are the test set. Accuracies say
that training works, and nothing about CIFAR.
"""

import pickle
import sys
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

TEST, BATCHES = 300, 5


def draw_digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 32, 32, 3) and labels (n,), shuffled."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images = []
    for ink in digits.images[order] / 16:
        scaled = cv2.resize(ink.astype(np.float32), (32, 32), interpolation=cv2.INTER_LINEAR)[..., None]
        ground, colour = rng.uniform(0, 110, 3), rng.uniform(145, 255, 3)
        if rng.random() < 0.5:
            ground, colour = colour, ground
        noisy = ground + (colour - ground) * scaled + rng.normal(0, 8, (32, 32, 3))
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return np.stack(images), digits.target[order]


def main() -> None:
    """Write data_batch_1 to data_batch_5, test_batch and batches.meta, pickled as the originals are."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "cifar-10-batches-py")
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = draw_digits()
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)  # (n, 3072): red, green and blue planes
    parts = np.array_split(np.arange(TEST, len(rows)), BATCHES)
    files = {"test_batch": np.arange(TEST)} | {f"data_batch_{n + 1}": part for n, part in enumerate(parts)}
    for name, chosen in files.items():
        batch = {b"data": rows[chosen], b"labels": labels[chosen].tolist(), b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [str(digit).encode() for digit in range(10)], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))


if __name__ == "__main__":
    main()
