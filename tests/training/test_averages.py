"""Named averages of an objective: they follow their decays, are sharded and checkpointed, and losses may use them."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.training.checkpoint import Checkpoints
from sorajax.training.loop import fit
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update
from tests.training.test_loop import Interrupted, one, same
from tests.training.toy import Toy, toy, toy_batches, toy_loop


@flax.struct.dataclass
class Averaging(Toy):
    """The perceptron, with the mean of all its parameters and a copy of the last ones."""

    def averages(self):
        return {"mean": lambda updates: updates / (updates + 1), "latest": lambda updates: 0.0}


@flax.struct.dataclass
class Anchored(Toy):
    """The perceptron, held near its first parameters, which `collect` hands to the loss."""

    def averages(self):
        return {"first": lambda updates: 1.0}

    def collect(self, state, batch, key):
        return {**batch, "first": state.averages["first"]}

    def loss(self, params, batch, key):
        loss, metrics = super().loss(params, batch, key)
        return loss + 100 * distance(params, batch["first"]), metrics


@jax.jit
def distance(a, b):
    return sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2), a, b)))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_averages_follow_their_decays_at_each_update(accumulation):
    stage = Averaging(toy().target)
    config = OptimizerConfig(learning_rate=3e-2, warmup=1, accumulation=accumulation)
    optimizer = make_optimizer(config, 6)
    state = make_begin(optimizer, stage)(stage.init(jax.random.key(0)))
    assert same(state.averages["mean"], state.params)
    update, data = jax.jit(make_update(optimizer, config)), iter(toy_batches())
    passed = [state.params]
    for step in range(1, 7):
        state, _ = update(state, stage, next(data), jax.random.key(1), 1.0)
        if step % accumulation == 0:
            passed.append(state.params)
        assert same(state.averages["latest"], passed[-1])
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, 0), *passed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.averages["mean"], mean)
    assert distance(state.params, mean) > 1e-3


def test_collect_passes_an_average_to_the_loss(tmp_path):
    free, held = (
        fit(kind(toy().target), toy_batches(), toy_loop(20), tmp_path / kind.__name__, mesh=one())
        for kind in (Toy, Anchored)
    )
    first = held.averages["first"]
    assert distance(held.params, first) < 0.1 * distance(free.params, first)


def test_averages_are_sharded_like_parameters_and_resume_on_another_mesh(tmp_path):
    stage, loop = Averaging(toy().target), toy_loop(8, save_every=4)
    whole = fit(stage, toy_batches(), loop, tmp_path / "whole", mesh=one())
    with pytest.raises(KeyboardInterrupt):
        fit(stage, Interrupted(toy_batches(), 6), loop, tmp_path / "moved", mesh=make_mesh("data=2,fsdp=2,tensor=2"))
    moved = fit(stage, toy_batches(), toy_loop(8), tmp_path / "moved", resume=True, mesh=one())
    for a, b in zip(jax.tree.leaves(whole.averages), jax.tree.leaves(moved.averages), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    spread = fit(stage, toy_batches(), toy_loop(9), tmp_path / "moved", resume=True, mesh=make_mesh("fsdp=4,tensor=2"))
    kernel = spread.averages["mean"]["blocks"]["up"]["kernel"]
    assert tuple(kernel.sharding.spec) == (None, "fsdp", "tensor")


def test_a_resumed_run_has_the_same_averages_to_the_bit(tmp_path):
    stage, loop = Averaging(toy().target), toy_loop(8, save_every=3)
    whole = fit(stage, toy_batches(), loop, tmp_path / "whole", mesh=one())
    with pytest.raises(KeyboardInterrupt):
        fit(stage, Interrupted(toy_batches(), 5), loop, tmp_path / "stopped", mesh=one())
    assert same(whole, fit(stage, toy_batches(), loop, tmp_path / "stopped", resume=True, mesh=one()))


@flax.struct.dataclass
class FormerState:
    """The state as versions without named averages wrote it."""

    step: jax.Array
    params: dict
    ema: dict
    opt_state: tuple


def test_checkpoints_without_the_averages_resume_and_these_begin_as_the_parameters(tmp_path, capsys):
    stage, loop = toy(), toy_loop(4)
    optimizer = make_optimizer(loop.optimizer, 4)
    params = jax.tree.map(lambda x: x + 1, stage.init(jax.random.key(0)))
    former = FormerState(jnp.int32(4), params, params, optimizer.init(params))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, former, {}, iter(toy_batches()).get_state(), 1.0)
    checkpoints.close()
    state = fit(Averaging(stage.target), toy_batches(), loop, tmp_path, resume=True, mesh=one())
    assert same(state.averages, {"mean": params, "latest": params})
    assert "average `mean` is not in the checkpoint" in capsys.readouterr().out


def test_an_objective_may_drop_an_average_and_add_another(tmp_path):
    fit(Averaging(toy().target), toy_batches(), toy_loop(2), tmp_path, mesh=one())
    state = fit(Anchored(toy().target), toy_batches(), toy_loop(3), tmp_path, resume=True, mesh=one())
    assert (int(state.step), set(state.averages)) == (3, {"first"})
    assert not fit(toy(), toy_batches(), toy_loop(4), tmp_path, resume=True, mesh=one()).averages


def test_a_damaged_average_is_detected(tmp_path, capsys):
    trees = {"old": {"kernel": jnp.arange(4096.0).reshape(64, 64)}}
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"step": jnp.int32(step)}, {}, {}, 1.0, averages=trees)
    checkpoints.wait()
    files = [path for path in (tmp_path / "2" / "averages").rglob("*") if path.is_file() and "d" in path.parts]
    largest = max(files, key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.write_bytes(damaged)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = {"step": jax.ShapeDtypeStruct((), jnp.int32, sharding=place)}
    kernel = {"kernel": jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=place)}
    found = checkpoints.restore(abstract, average=kernel)
    assert found.step == 1
    assert same(found.averages, trees)
    assert "fell back to step 1" in capsys.readouterr().err
    assert checkpoints.restore(abstract).step == 2  # who needs no averages, reads none
    checkpoints.close()
