"""Time one tool: `python -P run.py JOB`, in the environment of that tool.

JOB is a JSON file that `textgen_vs_peers.py` wrote. One line of JSON comes back: crops a second of every timed round,
the versions of the packages, and the first crops as bytes.
"""

import base64
import importlib.metadata
import importlib.util
import json
import os
import random
import sys
import time
from itertools import islice
from pathlib import Path


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some tools print a line for every crop
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {job["core"]})
    random.seed(0)
    driver = load(Path(__file__).with_name(f"{job['driver']}.py"))
    batches = driver.batches(job)
    first = list(islice((crop for batch in batches for crop in batch), job["samples"]))
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)  # its pool asks the environment for nothing
    rate(batches, job["seconds"])  # caches fill, clocks rise
    rates = [rate(batches, job["seconds"]) for _ in range(job["rounds"])]
    there = {dist.name.lower(): dist.version for dist in importlib.metadata.distributions()}
    versions = {name: there[name] for name in job["packages"] if name in there}
    samples = [packed(crop) for crop in first]
    print(json.dumps({"rates": rates, "versions": versions, "samples": samples}), file=out, flush=True)


def load(path: Path):
    """A driver by its path: as `import trdg` it would hide the package of that name."""
    spec = importlib.util.spec_from_file_location(f"driver_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rate(batches, seconds: float) -> float:
    """Crops a second over at least `seconds`; what the tool dropped is in no batch and does not count."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += len(next(batches))
    return count / elapsed


def packed(crop) -> dict:
    """A crop, grey (h, w) or RGB (h, w, 3), as JSON can carry it."""
    import numpy as np  # noqa: PLC0415  # the tool comes first: it may need to set the process up

    array = np.ascontiguousarray(np.asarray(crop), np.uint8)
    return {"shape": array.shape, "bytes": base64.b64encode(array.tobytes()).decode()}


if __name__ == "__main__":
    main()
