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
        return _scan(equation, inputs)
    if name == "cond":
        branches = [_count(branch, inputs[1:]) for branch in _bodies(parameters)]
        return max(cost for cost, _ in branches), [any(column) for column in zip(*(out for _, out in branches))]
    bodies = _bodies(parameters)
    if len(bodies) == 1 and (len(bodies[0].invars), len(bodies[0].outvars)) == (len(inputs), len(equation.outvars)):
        return _count(bodies[0], inputs)
    return 0.0, [any(inputs)] * len(equation.outvars)


def _bodies(parameters: dict[str, Any]) -> list[Any]:
    """The programs among an equation's parameters, under whatever names this version of jax gives them."""
    nested = jax.tree.leaves(list(parameters.values()), is_leaf=lambda value: isinstance(value, ClosedJaxpr | Jaxpr))
    programs = [value for value in nested if isinstance(value, ClosedJaxpr | Jaxpr)]
    return [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in programs]


def _scan(equation: Any, inputs: list[bool]) -> tuple[float, list[bool]]:
    """A scan's inputs are constants, carry and sequences; its outputs are carry and sequences. A sequence has one axis
    more outside the body than inside, which tells them apart without the names of the equation's parameters."""
    body: Any
    (body,) = _bodies(equation.params)
    carried = sum(a.aval.ndim == b.aval.ndim for a, b in zip(equation.outvars, body.outvars, strict=True))
    sequences = [a.aval.ndim > b.aval.ndim for a, b in zip(equation.invars, body.invars, strict=True)]
    constants = len(inputs) - sum(sequences) - carried
    lengths = {a.aval.shape[0] for a, sequence in zip(equation.invars, sequences, strict=True) if sequence}
    lengths |= {a.aval.shape[0] for a in equation.outvars[carried:]}
    length = lengths.pop() if lengths else equation.params.get("length", 1)
    while True:  # a carry that becomes dependent makes the next turn's input dependent
        cost, outputs = _count(body, inputs)
        carry = [a or b for a, b in zip(inputs[constants : constants + carried], outputs[:carried], strict=True)]
        if carry == inputs[constants : constants + carried]:
            return cost * length, outputs
        inputs = [*inputs[:constants], *carry, *inputs[constants + carried :]]


def _dot(a: tuple[int, ...], out: tuple[int, ...], parameters: dict[str, Any]) -> float:
    (contracted, _), _ = parameters["dimension_numbers"]
    return 2.0 * math.prod(out) * math.prod(a[axis] for axis in contracted)


def _convolution(kernel: tuple[int, ...], out: tuple[int, ...], parameters: dict[str, Any]) -> float:
    _, *taps = parameters["dimension_numbers"].rhs_spec  # axes: output features; inputs of one group, then space
    return 2.0 * math.prod(out) * math.prod(kernel[axis] for axis in taps)
