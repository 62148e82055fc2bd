"""What decides the rows of a prediction: a stopped command goes on if all of it is the same.

Rows are computed again to the same bytes: frames are read in groups that begin at the same frames, so that stacks hold
the same crops.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from train.common.resume import identify_source
from train.inference.network_file import weights_path
from train.predict.readouts import Joined, Readout
from train.predict.settings import Settings

VERSION = 1  # raised with every change of what the same command writes


def identify(settings: Settings, readouts: Sequence[Readout], joined: Sequence[Joined]) -> dict[str, str]:
    """What decides the rows of a command, by setting."""
    regions = [(each.name, *vars(each.region).values()) for each in readouts]
    runs = {each.predictor.run: each.predictor for each in readouts}
    return {
        "version": str(VERSION),
        "source": identify_source(settings.source),
        "regions": repr(regions),
        "run": repr([digest_run(run) for run in runs]),
        "threshold": repr([predictor.threshold for predictor in runs.values()]),
        "smoothing": repr([each.kinds for each in readouts]),
        "join": repr([(each.name, each.template) for each in joined]),
        "engine": repr([predictor.engine for predictor in runs.values()]),
        **{key: repr(getattr(settings, key)) for key in ("changes", "every", "start", "end", "rate")},
    }


def digest_run(run: Path) -> str:
    return hashlib.sha256(weights_path(run).read_bytes()).hexdigest()[:16]
