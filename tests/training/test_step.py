"""One training step: optional methods of a stage have defaults, and data may come from the model itself."""

import inspect
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.training.loop import fit
from sorajax.training.state import TrainState
from sorajax.training.step import Flops, Stage, method
from tests.training.test_loop import Interrupted, one, same
from tests.training.toy import WIDTH, toy, toy_batches, toy_loop

SEEN = []


@flax.struct.dataclass
class Chaser:
    """Rolls its own model out on noise of its own, and learns to exceed what it made by the noise itself."""

    def init(self, key):
        return {"w": jnp.zeros((WIDTH, WIDTH))}

    def collect(self, state, batch, key):
        SEEN.append(type(batch["x"]))
        noise = jax.random.normal(key, batch["x"].shape)
        return {"noise": noise, "made": noise @ state.params["w"]}

    def loss(self, params, batch, key):
        own = batch["noise"] @ params["w"]
        behind = jnp.max(jnp.abs(own - batch["made"]))
        return jnp.mean(jnp.square(own - batch["made"] - batch["noise"])), {"behind": behind}


def test_collect_generates_with_the_current_parameters(tmp_path, capsys):
    """The target runs ahead of the model at every step, so that it never arrives; with a gradient through the roll-out,
    or with a roll-out of the first weights, it would not move, or come to rest."""
    SEEN.clear()
    state = fit(Chaser(), toy_batches(), toy_loop(30, report_seconds=0.0), tmp_path, mesh=one())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    behind = [float(line.split("behind ")[1].split(" ")[0]) for line in lines]
    assert max(behind) < 1e-5
    losses = [float(line.split(" loss ")[1].split(" ")[0]) for line in lines]
    assert min(losses) > 0.5  # the mean square of the noise
    diagonal = np.diag(state.params["w"])
    assert diagonal.min() > 0.3
    assert diagonal.min() > 3 * np.abs(state.params["w"] - np.diag(diagonal)).mean()
    assert SEEN
    assert all(issubclass(kind, jax.core.Tracer) for kind in SEEN)  # in the compiled program


def test_a_run_with_roll_outs_resumes_as_if_uninterrupted(tmp_path):
    loop = toy_loop(8, save_every=3)
    whole = fit(Chaser(), toy_batches(), loop, tmp_path / "whole", mesh=one())
    with pytest.raises(KeyboardInterrupt):
        fit(Chaser(), Interrupted(toy_batches(), 5), loop, tmp_path / "stopped", mesh=one())
    assert same(whole, fit(Chaser(), toy_batches(), loop, tmp_path / "stopped", resume=True, mesh=one()))


def test_flops_of_a_roll_out_count_once_without_a_backward_pass():
    """Of three products: the roll-out's, the loss's, and that of the gradient in the weights."""
    stage, batch = Chaser(), {"x": jnp.zeros((4, WIDTH))}
    params = stage.init(jax.random.key(0))
    count = Flops(TrainState(jnp.int32(0), params, params, ()), jax.random.key(0))
    assert count(stage, batch) == 3 * 2 * 4 * WIDTH * WIDTH


OPTIONAL = [name for name in vars(Stage) if not name.startswith("_") and name not in ("init", "loss")]


@pytest.mark.parametrize("name", OPTIONAL)
def test_every_optional_method_says_its_default(name):
    assert "Default: " in inspect.getdoc(getattr(Stage, name))


def test_a_missing_method_is_the_protocols_default():
    stage, batch, key = toy(), {"x": np.ones((4, WIDTH), np.float32)}, jax.random.key(0)
    params = stage.init(key)
    assert method(stage, Stage.at)(3) is stage
    assert method(stage, Stage.tokens)(batch) == 0
    assert method(stage, Stage.collect)(None, batch, key) is batch
    assert method(stage, Stage.validate)(params, batch, key) == {"loss": stage.loss(params, batch, key)[0]}
    assert method(stage, Stage.preview)(params, key).shape == (8, 16, 3)  # its own
    with pytest.raises(ValueError, match=r"Toy has no `load`: leave out --loop\.start runs/there"):
        method(stage, Stage.load)(Path("runs/there"))
