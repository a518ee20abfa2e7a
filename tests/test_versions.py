"""Details of jax that change from version to version are read nowhere without a guard.

pyproject admits a range of versions. What is private, or was renamed within that range, may be read only where another
answer is possible: inside `try`, through `getattr` with a default, or through `.get`.
"""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sorajax.training.flops import training_flops
from sorajax.training.state import TrainState
from sorajax.training.step import Flops

SOURCE = Path(__file__).parent.parent / "sorajax"
LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax", "grain"}
PRIVATE = {"jaxlib", "jax.interpreters", "jax.lib", "jax.core"}
RENAMED = {
    # of equations (0.11: names of scan's parameters; their programs are no ClosedJaxpr any more)
    "num_consts",
    "num_carry",
    "call_jaxpr",
    "fun_jaxpr",
    "branches",
    # of compiled programs (not every backend and version has them)
    "peak_memory_in_bytes",
    "total_allocation_bytes",
    "host_temp_size_in_bytes",
    # of avals (0.10: vma became manual_axis_type)
    "vma",
    "manual_axis_type",
}


def unguarded(source: str) -> list[str]:
    """Private and renamed details that a module reads, outside `try`."""
    found: list[str] = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.Try):
            for child in node.body:
                visit(child, True)
            for child in [*node.handlers, *node.orelse, *node.finalbody]:
                visit(child, guarded)
            return
        if not guarded and (name := detail(node)):
            found.append(f"line {node.lineno}: {name}")  # type: ignore[attr-defined]
            return
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(ast.parse(source), False)
    return found


def detail(node: ast.AST) -> str | None:
    """What a node reads, where that is private to a library or was renamed."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.ImportFrom):
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
        return next((module for module in modules if is_private(module)), None)
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        return name if node.attr in RENAMED or is_private(name) else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value in RENAMED:
        return ast.unparse(node)
    return None


def is_private(name: str) -> bool:
    """Whether a dotted name is not of a library's public interface."""
    first, *rest = name.split(".")
    if first not in LIBRARIES:
        return False
    return any(part.startswith("_") and not part.startswith("__") for part in rest) or any(
        name == module or name.startswith(f"{module}.") for module in PRIVATE
    )


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_private_or_renamed_detail_is_read_without_a_guard(path):
    assert not unguarded(path.read_text())


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("import jax._src.core", 1),
        ("from jax._src import core", 1),
        ("from jax import _src", 1),
        ("from jax.interpreters import ad", 1),
        ("import jaxlib", 1),
        ("x = jax.core.Tracer", 1),
        ("x = equation.params['num_consts']", 1),
        ("x = memory.peak_memory_in_bytes", 1),
        ("def f():\n    x = y.vma", 1),
        ("try:\n    from jax._src import core\nexcept ImportError:\n    core = None", 0),
        ("try:\n    pass\nexcept ImportError:\n    from jax._src import core", 1),
        ("x = getattr(memory, 'peak_memory_in_bytes', 0)", 0),
        ("x = parameters.get('num_consts')", 0),
        ("import jax\nfrom jax.experimental import topologies\nself._private = jax.__version__", 0),
    ],
)
def test_unguarded_details_are_found(source, number):
    assert len(unguarded(source)) == number


def test_uncountable_flops_stop_no_training(monkeypatch, capsys):
    def broken(*_):
        raise KeyError("num_consts")

    monkeypatch.setattr("sorajax.training.step.training_flops", broken)
    flops, stage, batch = Flops(TrainState(0, {}, {}, ()), jax.random.key(0)), Stage(), {"x": jnp.zeros(3)}
    assert [flops(stage, batch), flops(stage, batch)] == [0.0, 0.0]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1  # once
    assert said[0].startswith(f"note: the step's FLOPs cannot be counted with jax {jax.__version__} (KeyError")


class Stage:
    def loss(self, params, batch, key):
        return 0.0, {}


jax.tree_util.register_pytree_node(Stage, lambda stage: ((), None), lambda _, __: Stage())

W, X = jax.ShapeDtypeStruct((8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 8), jnp.float32)
ONE = 2 * 3 * 8 * 8


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


def by_cond(w, x):
    return jax.lax.cond(jnp.sum(x) > 0, lambda: jnp.sum(x @ w), lambda: jnp.sum(w))


def by_switch(w, x):
    return jax.lax.switch(jnp.int32(1), [lambda: jnp.sum(w), lambda: jnp.sum((x @ w) @ w), lambda: 0.0])


def by_carry(w, x):
    return jnp.sum(jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=4)[0])


def by_outputs(w, x):
    return jnp.sum(jax.lax.scan(lambda _, row: (None, row @ w), None, x[:, None])[1])


@pytest.mark.parametrize(
    ("loss", "products"),
    [
        (lambda w, x: jnp.sum(jax.jit(lambda x: x @ w)(x)), 2),
        (lambda w, x: jnp.sum(jax.checkpoint(lambda x: x @ w)(x)), 2),
        (lambda w, x: jnp.sum(doubled(x @ w)), 2),
        (lambda w, x: jnp.sum(jax.vmap(lambda row: row @ w)(x)), 2),
        (by_cond, 2),
        (by_switch, 5),
        (by_carry, 3 * 4),  # the first turn's input counts as learned, too
        (by_outputs, 2),
    ],
    ids=["jit", "checkpoint", "custom_vjp", "vmap", "cond", "switch", "scan's carry", "scan's outputs"],
)
def test_flops_in_every_nesting_are_counted(loss, products):
    assert training_flops(loss, W, X) == products * ONE
