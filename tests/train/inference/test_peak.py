"""The loops that measure peak rates: multiply-adds and nothing else, in the processor's own instructions."""

import platform
import re

import llvmlite.binding as llvm
import pytest
import torch

from train.common.machine import torch_threads
from train.cost.devices import _fastest_seconds
from train.inference.cpu.fused import optimise_ir, target_from_features
from train.inference.cpu.peak import UNROLLED, describe_loop, generate_peak_ir, measure_peaks

AVX2, AVX512 = ["avx2"], ["avx2", "avx512bw"]
WITHOUT_VNNI = {"fp32": ["vfmadd231ps"], "int16": ["vpmaddwd", "vpaddd"]}
WITHOUT_VNNI |= {"int8": ["vpmaddubsw", "vpmaddubsw", "vpaddw", "vpmaddwd", "vpaddd"]}
WITH_VNNI = {"fp32": ["vfmadd231ps"], "int16": ["vpdpwssd"], "int8": ["vpdpbusd", "vpdpbusd"]}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors are of x86")
@pytest.mark.parametrize("precision", ["fp32", "int16", "int8"])
@pytest.mark.parametrize(
    ("cpu", "features", "instructions", "register"),
    [
        ("haswell", AVX2, WITHOUT_VNNI, "ymm"),
        ("alderlake", [*AVX2, "avxvnni"], WITH_VNNI, "ymm"),
        ("skylake-avx512", AVX512, WITHOUT_VNNI, "zmm"),
        ("icelake-server", [*AVX512, "avx512vnni"], WITH_VNNI, "zmm"),
        ("sapphirerapids", [*AVX512, "avx512vnni"], WITH_VNNI, "zmm"),
    ],
)
def test_a_loop_is_multiply_adds_of_whole_vectors_in_registers(
    cpu: str, features: list[str], instructions: dict[str, list[str]], register: str, precision: str
) -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, opt=3)
    target = target_from_features(dict.fromkeys(features, True))
    code = machine.emit_assembly(optimise_ir(generate_peak_ir(target), machine))
    function = re.search(rf"^{precision}:(.*?)\.Lfunc_end", code, re.DOTALL | re.MULTILINE)
    loop = re.search(r"^(\.LBB\d+_\d+):(.*?)^\tj\w+\t\1$", function[1], re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("\t{vex}") for line in loop[2].splitlines() if re.match(r"\t[^.#]", line)]
    names = sorted(line.split()[0] for line in lines)
    about = describe_loop(precision, target)
    assert names == sorted(instructions[precision] * about.sums * UNROLLED + ["incq", "cmpq"])
    assert not re.search(r"\(%rsp\)|\(%rbp\)", loop[2])
    assert set(re.findall(r"%([xyz]mm)", loop[2])) == {register}
    assert about.sums >= 10  # two units of five cycles


def test_the_peak_is_at_least_nine_tenths_of_the_rate_of_a_product_of_matrices() -> None:
    a, b = torch.rand(2, 700, 700)
    ratios = []
    for _ in range(5):  # others may use the core
        with torch_threads(1):
            product = 2 * 700**3 / _fastest_seconds(lambda: torch.mm(a, b))
        ratios.append(measure_peaks(1)["fp32"] / product)
        if ratios[-1] > 0.9:
            return
    raise AssertionError(ratios)
