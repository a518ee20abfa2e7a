"""Progress reports every step, in units that people count in, and changes no result."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.diffusion.flow import schedule
from sorajax.diffusion.samplers import SOLVERS
from sorajax.sampling.progress import Bar, reporting

TIMES = np.asarray(schedule(5, 3.0))
NOISE = jax.random.normal(jax.random.key(0), (1, 2, 2, 2, 1))


def velocity(x, time):
    return jnp.sin(x)


@pytest.mark.parametrize("name", SOLVERS)
def test_progress_reports_every_evaluation_and_changes_nothing(name):
    told = []
    sample = jax.jit(lambda x: SOLVERS[name](reporting(velocity, lambda time: told.append(float(time))), x, TIMES))
    x = jax.block_until_ready(sample(NOISE))
    jax.effects_barrier()
    assert set(told) == set(TIMES[:-1].tolist())
    assert np.array_equal(x, jax.jit(lambda x: SOLVERS[name](velocity, x, TIMES))(NOISE))


def test_the_progress_bar_counts_all_steps_and_never_decreases(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    bar, seen = Bar(), []
    bar.open(2, TIMES)
    for sampling in range(2):
        for time in (*TIMES[:-1], TIMES[1]):
            bar.report(time)
            seen.append(bar.lines.n)
        bar.finish_sampling()
        assert bar.lines.n == 5 * (sampling + 1)
    bar.close()
    assert seen == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 9]
    assert "step 0/10" in stderr.getvalue()
    assert "left" in stderr.getvalue()


def test_elapsed_time_counts_from_the_first_report(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    bar = Bar()
    for _ in range(2):
        bar.open(1, TIMES)
        opened = bar.lines.start_t = bar.lines.start_t - 100  # it was compiling
        bar.report(TIMES[0])
        started = bar.lines.start_t
        assert started > opened + 99
        bar.report(TIMES[1])
        assert bar.lines.start_t == started
        bar.close()


def test_a_closed_bar_is_silent(capsys):
    bar = Bar()
    bar.report(TIMES[1])
    bar.finish_sampling()
    bar.close()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_only_a_long_sampling_reports_its_steps(tiny_model, monkeypatch):
    """Programs that report are not stored on disk."""
    pipeline = sorajax.load(tiny_model)
    monkeypatch.setattr(type(pipeline.bar), "visible", property(lambda bar: True))
    monkeypatch.setattr("sys.stderr", io.StringIO())
    reported = []
    monkeypatch.setattr(pipeline.bar, "report", lambda time: reported.append(float(time)))
    pipeline("a red ball")
    assert not reported
    monkeypatch.setattr(pipeline.bar, "least", 0)
    pipeline("a red ball")
    assert len(reported) == pipeline.config.steps
