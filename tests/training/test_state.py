"""The training state is a pytree whose named averages stand apart."""

import jax
import numpy as np

from sorajax.training.state import TrainState


def test_the_core_is_all_but_the_named_averages():
    state = TrainState(np.int32(3), {"w": np.ones(2)}, {"w": np.zeros(2)}, (np.ones(1),), {"slow": {"w": np.ones(2)}})
    core = state.core()
    assert "averages" not in core
    assert TrainState(**core, averages=state.averages) == state
    doubled = jax.tree.map(lambda leaf: 2 * leaf, state)
    assert (doubled.step, doubled.averages["slow"]["w"].tolist()) == (6, [2, 2])
    assert TrainState(**core).averages == {}
