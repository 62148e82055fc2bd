"""Sums of products as LLVM IR, by the fastest instructions of a processor. They lie in the core of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from train.inference.cpu.program import Target

I16, I32, F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()


def multiply_add(
    b: ir.IRBuilder, target: Target, values: Sequence[ir.Value], weights: Sequence[ir.Value], total: ir.Value
) -> ir.Value:
    """`total`, a vector of float32 or int32, plus the products of `values` and `weights`.

    Floats: one vector of each. int16: one vector of each, two products for each number of `total`. int8, the values
    unsigned and the weights of seven bits: two vectors of each, each four products for each number of `total`.
    """
    lanes, element = target.lanes, weights[0].type.element
    if element == F32:
        return call_intrinsic(b, f"llvm.fmuladd.v{lanes}f32", total.type, [*values, *weights, total])
    if element == I16 and target.madd:
        return b.add(total, call_intrinsic(b, target.madd, total.type, [*values, *weights]))
    if element != I16 and target.dpbusd:
        for value, weight in zip(values, weights, strict=True):
            total = call_intrinsic(b, target.dpbusd, total.type, [total, value, weight])
        return total
    if element != I16 and target.madd and target.maddubs:
        pairs = ir.VectorType(I16, 2 * lanes)
        of = zip(values, weights, strict=True)
        first, second = (call_intrinsic(b, target.maddubs, pairs, list(each)) for each in of)
        ones = ir.Constant(pairs, [1] * pairs.count)
        return b.add(total, call_intrinsic(b, target.madd, total.type, [b.add(first, second), ones]))
    group = weights[0].type.count // lanes
    wide = ir.VectorType(I32, group * lanes)
    for value, weight in zip(values, weights, strict=True):
        products = b.mul(b.sext(value, wide) if element == I16 else b.zext(value, wide), b.sext(weight, wide))
        for at in range(group):
            mask = ir.Constant(ir.VectorType(I32, lanes), list(range(at, group * lanes, group)))
            total = b.add(total, b.shuffle_vector(products, ir.Constant(wide, ir.Undefined), mask))
    return total


def call_intrinsic(b: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
    """Call an intrinsic function of LLVM."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), arguments)
