"""A run of minutes equals a run of steps up to its decay, ends in time, and resumes with the time left."""

import numpy as np
import pytest

from sorajax.training import clock, loop
from sorajax.training.checkpoint import Checkpoints
from sorajax.training.clock import Clock, fall
from sorajax.training.loop import LoopConfig, fit
from sorajax.training.optimizer import OptimizerConfig, schedule
from tests.cases import slow_after
from tests.training.test_loop import Interrupted, one, same
from tests.training.toy import BUCKETS, toy, toy_batches, toy_loop


class Ticking:
    """A clock that each look moves on by so many seconds."""

    def __init__(self, tick: float):
        self.tick, self.now = tick, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def ticking(monkeypatch):
    def use(tick):
        found = Ticking(tick)
        monkeypatch.setattr(clock, "monotonic", found)
        return found

    return use


OPTIMIZERS = {
    "adamw": OptimizerConfig(learning_rate=3e-2, warmup=4, decay=0.5, weight_decay=0.1),
    "muon": OptimizerConfig(name="muon", learning_rate=3e-2, warmup=4, decay=0.5, accumulation=2, posthoc=(0.1,)),
}


@pytest.mark.parametrize("name", slow_after(1, OPTIMIZERS))
def test_timed_and_counted_runs_agree_until_the_decay(tmp_path, ticking, name):
    ticking(60.0)  # a minute each step
    optimizer = OPTIMIZERS[name]
    config = toy_loop(40, optimizer=optimizer, save_every=18, keep=20)
    fit(toy(), toy_batches(BUCKETS), config, tmp_path / "steps", mesh=one())
    timed = toy_loop(1, minutes=60.0, optimizer=optimizer, save_every=18, keep=20)
    state = fit(toy(), toy_batches(BUCKETS), timed, tmp_path / "minutes", mesh=one())
    assert 40 < state.step < 60
    by_steps, by_minutes = (Checkpoints(tmp_path / kind / "checkpoints") for kind in ("steps", "minutes"))
    for step, equal in ((18, True), (36, False)):
        assert same(by_steps.restore(state.core(), step).state, by_minutes.restore(state.core(), step).state) is equal


def test_the_learning_rate_decays_by_time_as_it_would_by_steps():
    for kind in ("linear", "cosine", "constant"):
        config = OptimizerConfig(schedule=kind, decay=0.4, final=0.1, warmup=10, learning_rate=2.0)
        by_steps, flat = schedule(config, 1000), schedule(config, None)
        for step in (0, 5, 10, 300, 600, 601, 800, 999, 1000):
            np.testing.assert_allclose(by_steps(step), flat(step) * fall(config, step / 1000), rtol=1e-4, atol=1e-6)
        assert fall(config, 0.6) == 1.0


@pytest.mark.parametrize("minutes", [2.0, 10.0])
def test_a_timed_run_ends_early_enough_to_save(minutes):
    now = Clock(1, minutes, OptimizerConfig(), state_bytes=10**9)
    step = 0
    while not now.over(step):
        step += 1
        now.began -= 1.0  # a second a step
        now.read(step)
    assert 60 * minutes * 0.75 < now.seconds < 60 * minutes - min(12, 12 * minutes)
    assert now.rate_scale() < 0.1


def test_a_short_run_compiles_first_and_saves_once(tmp_path, ticking, capsys):
    ticking(2.0)
    config = toy_loop(1, minutes=2.0, save_every=1, preview_every=1)
    state = fit(toy(), toy_batches(BUCKETS), config, tmp_path, mesh=one())
    out = capsys.readouterr().out
    assert f"compiled {len(BUCKETS)} shape(s)" in out
    assert Checkpoints(tmp_path / "checkpoints").steps() == [state.step]
    assert not (tmp_path / "previews").exists()
    last = out.splitlines()[-1]
    assert last.startswith(f"trained {state.step} steps, ")
    assert "clips/s" in last
    assert "waiting for data" in last
    assert "left" in out


def test_compiling_first_consumes_no_batch(tmp_path, ticking):
    ticking(60.0)
    seen = []

    class Watched(Interrupted):
        def __next__(self):
            seen.append(self.batches.get_state())
            return super().__next__()

    fit(toy(), Watched(toy_batches(BUCKETS), 10**6), toy_loop(1, minutes=20.0), tmp_path, mesh=one())
    assert seen[loop.EARLY] == seen[0]


def test_a_resumed_run_has_the_time_that_is_left(tmp_path, ticking, capsys):
    ticking(60.0)
    config = toy_loop(1, minutes=90.0, save_every=10)
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), Interrupted(toy_batches(), loop.EARLY + 45), config, tmp_path, mesh=one())
    before = Checkpoints(tmp_path / "checkpoints").steps()[-1]
    assert before == 40
    state = fit(toy(), toy_batches(), config, tmp_path, resume=True, mesh=one())
    assert 70 < state.step < 90
    assert "continue with --resume" not in capsys.readouterr().out
    again = fit(toy(), toy_batches(), config, tmp_path, resume=True, mesh=one())
    assert again.step == state.step  # it is over


def test_a_run_without_time_for_a_step_is_one_line(tmp_path, ticking, capsys):
    ticking(60.0)
    fit(toy(), toy_batches(), toy_loop(1, minutes=1.0), tmp_path, mesh=one())
    assert "1 minutes were over before the first step" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"loop.minutes is -1.*must be 0 or more"):
        LoopConfig(minutes=-1)
