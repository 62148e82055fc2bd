"""One network for all fields of a text beside one network for each field: operations, and crops a second.

    python benchmarks/fields.py [--fold 4] [--seconds 2]

Random weights, float32, one thread, in PyTorch and in the machine code of `train.inference.cpu`; all networks read the
same crops in turns, and the best of the rounds counts. The ratio is the rate of the one network over that of all others
together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from textgen.spec import Spec
from train.cost.intensity import network_cost
from train.inference.cpu.fused import FusedCPU
from train.inference.network import CropArray, Network
from train.models.notation import build, parse

POOL = "3x3 strides 2,1,2"
NARROW = "C32 M B M C8 M F"  # of a network for one field; that for all has more channels in the last convolution
CROPS = 512


class Case(NamedTuple):
    spec: str
    fields: dict[str, str]
    size: tuple[int, int]


CASES = {
    "100 | 25": Case("N | M", {"N": "0..100", "M": "0..100"}, (20, 60)),
    "1:23:45.6": Case("H:MM:SS.T", {"H": "0..9", "M": "00..59", "S": "00..59", "T": "0..9"}, (20, 60)),
}


def make_network(arch: str, size: tuple[int, int], spec: Spec, fold: int) -> Network:
    """With random weights, for the label of `spec`."""
    layers = parse(arch, POOL)
    net = build(layers, size=size, classes=len(spec.classes), fold=fold).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(net.requires_grad_(False).eval(), arch, POOL, size, spec.classes, fold, None, spec.fields)


def read_all(run: Callable[..., Any], networks: list[Network], crops: CropArray) -> None:
    """Read the same crops with each of `networks`."""
    for network in networks:
        run(network, crops)


def operations(network: Network) -> float:
    """Of a crop."""
    cost = network_cost(
        network.layers, size=network.size, classes=len(network.classes), fold=network.fold, form="dense"
    )
    return cost.operations(1)


def rates(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Crops a second of each call, in turns."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    until = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < until:
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    return {name: CROPS / took for name, took in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| text | last convolution | fold | operations, one : all others | PyTorch | machine code |")
    print("|---|---|---|---|---|---|")
    for name, case in CASES.items():
        spec = Spec.parse(case.spec, label="all", fields=case.fields)
        single = [Spec.parse(case.spec, label=letter, fields=case.fields) for letter in spec.fields.names]
        crops = np.random.default_rng(0).integers(0, 256, (CROPS, *case.size, 3), np.uint8)
        others = [make_network(NARROW, case.size, of, options.fold) for of in single]
        for width in ("C8", "C32", "C64"):
            arch = NARROW.replace("C8", width)
            one = make_network(arch, case.size, spec, options.fold)
            ratio = operations(one) / sum(map(operations, others))
            shown = [name.replace("|", r"\|"), width, str(options.fold), f"{ratio:.2f}"]
            compiled = {net: FusedCPU(net) for net in (one, *others)}
            for run in (Network.find_labels, lambda net, crops, of=compiled: of[net](crops)):
                calls = {"one": partial(read_all, run, [one], crops), "others": partial(read_all, run, others, crops)}
                measured = rates(calls, options.seconds)
                shown.append(f"{measured['one'] / measured['others']:.2f}")
            print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
