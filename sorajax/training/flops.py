"""Floating-point operations counted from a traced function: its matrix products and convolutions.

XLA's own count takes a scanned body once; here it counts as often as it runs. A product `a @ b` costs 2 m n k
forward, and once more in the backward pass for each of `a` and `b` that depends on parameters. What rematerialisation
computes again does not count (it is no model FLOP), nor does what runs inside hand-written kernels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var


def forward_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of one call; arguments may be arrays or ShapeDtypeStructs."""
    traced = jax.make_jaxpr(function)(*arguments)
    return _count(traced.jaxpr, [False] * len(traced.jaxpr.invars))[0]


def training_flops(loss: Callable[..., Any], params: Any, *rest: Any) -> float:
    """FLOPs of one value and gradient of `loss(params, *rest)` with respect to params."""
    traced = jax.make_jaxpr(loss)(params, *rest)
    learned = len(jax.tree.leaves(params))
    return _count(traced.jaxpr, [i < learned for i in range(len(traced.jaxpr.invars))])[0]


def _count(jaxpr: Jaxpr, learned: Sequence[bool]) -> tuple[float, list[bool]]:
    """(FLOPs, which outputs depend on parameters), given which inputs do."""
    depends = dict(zip(jaxpr.invars, learned, strict=True))

    def known(atom: Any) -> bool:
        return isinstance(atom, Var) and depends.get(atom, False)

    total = 0.0
    for equation in jaxpr.eqns:
        inputs = [known(atom) for atom in equation.invars]
        cost, outputs = _equation(equation, inputs)
        total += cost
        depends |= dict(zip(equation.outvars, outputs, strict=True))
    return total, [known(atom) for atom in jaxpr.outvars]


def _equation(equation: Any, inputs: list[bool]) -> tuple[float, list[bool]]:
    name, parameters = equation.primitive.name, equation.params
    if name in ("dot_general", "conv_general_dilated"):
        a, b = (atom.aval.shape for atom in equation.invars)
        out = equation.outvars[0].aval.shape
        product = _dot(a, out, parameters) if name == "dot_general" else _convolution(b, out, parameters)
        return product * (1 + inputs[0] + inputs[1]), [inputs[0] or inputs[1]]
    if name == "scan":
        return _scan(parameters, inputs)
    if name == "cond":
        branches = [_count(branch.jaxpr, inputs[1:]) for branch in parameters["branches"]]
        return max(cost for cost, _ in branches), [any(column) for column in zip(*(out for _, out in branches))]
    bodies = [value for value in parameters.values() if isinstance(value, ClosedJaxpr | Jaxpr)]
    if len(bodies) == 1:
        body = bodies[0].jaxpr if isinstance(bodies[0], ClosedJaxpr) else bodies[0]
        if len(body.invars) == len(inputs) and len(body.outvars) == len(equation.outvars):
            return _count(body, inputs)
    return 0.0, [any(inputs)] * len(equation.outvars)


def _scan(parameters: dict[str, Any], inputs: list[bool]) -> tuple[float, list[bool]]:
    body, constants, carried = parameters["jaxpr"].jaxpr, parameters["num_consts"], parameters["num_carry"]
    while True:  # a carry that becomes dependent makes the next turn's input dependent
        cost, outputs = _count(body, inputs)
        carry = [a or b for a, b in zip(inputs[constants : constants + carried], outputs[:carried], strict=True)]
        if carry == inputs[constants : constants + carried]:
            return cost * parameters["length"], outputs
        inputs = [*inputs[:constants], *carry, *inputs[constants + carried :]]


def _dot(a: tuple[int, ...], out: tuple[int, ...], parameters: dict[str, Any]) -> float:
    (contracted, _), _ = parameters["dimension_numbers"]
    return 2.0 * math.prod(out) * math.prod(a[axis] for axis in contracted)


def _convolution(kernel: tuple[int, ...], out: tuple[int, ...], parameters: dict[str, Any]) -> float:
    _, *taps = parameters["dimension_numbers"].rhs_spec  # axes: output features; inputs of one group, then space
    return 2.0 * math.prod(out) * math.prod(kernel[axis] for axis in taps)
