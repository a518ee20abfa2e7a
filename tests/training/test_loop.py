"""The loop: resumed equals uninterrupted, a NaN poisons nothing, SIGTERM saves, eight devices equal one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.training.loop import DivergedError, fit
from sorajax.training.optimizer import OptimizerConfig
from tests.children import xla_flags
from tests.training.toy import BUCKETS, WIDTH, Clocked, toy, toy_batches, toy_loop


def one():
    return make_mesh({"fsdp": 1}, jax.devices()[:1])


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize(
    ("optimizer", "buckets"),
    [
        (OptimizerConfig(learning_rate=3e-2, warmup=2), BUCKETS),
        (OptimizerConfig(name="muon", learning_rate=3e-2, warmup=2, accumulation=2), BUCKETS[:1]),
    ],
    ids=["adamw on two shapes", "muon accumulated"],
)
def test_resumed_equals_uninterrupted(tmp_path, optimizer, buckets, capsys):
    loop = toy_loop(12, optimizer=optimizer, save_every=7)
    whole = fit(toy(), toy_batches(buckets), loop, tmp_path / "whole", mesh=one())
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), Interrupted(toy_batches(buckets), 9), loop, stopped, mesh=one())
    resumed = fit(toy(), toy_batches(buckets), loop, stopped, resume=True, mesh=one())
    assert "resumed" in capsys.readouterr().out
    assert same(whole, resumed)


class Interrupted:
    """Batches that end in an interrupt, as if the machine had gone away."""

    def __init__(self, batches, after):
        self.batches, self.left = iter(batches), after

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return next(self.batches)

    def get_state(self):
        return self.batches.get_state()

    def set_state(self, state):
        self.batches.set_state(state)


def test_a_stage_is_bound_to_its_step_also_by_a_resumed_run(tmp_path, capsys):
    stage = Clocked(np.eye(WIDTH, dtype=np.float32))
    loop = toy_loop(6, save_every=3)
    whole = fit(stage, toy_batches(), loop, tmp_path / "whole", mesh=one())
    assert "step 6/6 · bound to 2.5" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        fit(stage, Interrupted(toy_batches(), 4), loop, tmp_path / "stopped", mesh=one())
    assert same(whole, fit(stage, toy_batches(), loop, tmp_path / "stopped", resume=True, mesh=one()))


def test_loss_falls_and_reports_are_written(tmp_path, capsys):
    fit(toy(), toy_batches(), toy_loop(60, preview_every=30, report_seconds=0.0), tmp_path, mesh=one())
    out = capsys.readouterr().out
    losses = [float(line.split("loss ")[1].split(" ")[0]) for line in out.splitlines() if " loss " in line]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == ["00000030.png", "00000060.png"]
    events = next((tmp_path / "events").iterdir()).read_bytes()
    for name in (b"loss", b"by_sign/0", b"learning_rate", b"steps_per_second", b"preview"):
        assert name in events


def test_nan_stops_names_the_step_and_saves_nothing_poisoned(tmp_path):
    with pytest.raises(DivergedError, match=r"^step \d+: loss nan.*last good checkpoint is step \d+"):
        fit(toy(), toy_batches(poison_at=1.5), toy_loop(100, save_every=2), tmp_path, mesh=one())
    state = fit(toy(), toy_batches(seed=1), toy_loop(1), tmp_path, resume=True, mesh=one())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_directory_with_a_run_is_not_trained_over(tmp_path):
    fit(toy(), toy_batches(), toy_loop(1), tmp_path, mesh=one())
    with pytest.raises(FileExistsError, match="--resume"):
        fit(toy(), toy_batches(), toy_loop(1), tmp_path, mesh=one())


def test_eight_devices_equal_one(tmp_path):
    alone = fit(toy(), toy_batches(), toy_loop(5), tmp_path / "1", mesh=one())
    together = fit(toy(), toy_batches(), toy_loop(5), tmp_path / "8", mesh=make_mesh("data=2,fsdp=2,tensor=2"))
    kernel = together.params["blocks"]["up"]["kernel"]
    assert tuple(kernel.sharding.spec) == (None, "fsdp", "tensor")
    assert together.opt_state[1][0].mu["blocks"]["up"]["kernel"].sharding == kernel.sharding
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(together.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_a_checkpoint_of_eight_devices_resumes_on_one(tmp_path):
    whole = fit(toy(), toy_batches(), toy_loop(8), tmp_path / "whole", mesh=one())
    cut = Interrupted(toy_batches(), 6)
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), cut, toy_loop(8, save_every=4), tmp_path / "moved", mesh=make_mesh("fsdp=8"))
    moved = fit(toy(), toy_batches(), toy_loop(8), tmp_path / "moved", resume=True, mesh=one())
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(moved.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


ENDLESS = """
import sys
from sorajax.training.loop import fit
from tests.training.toy import toy, toy_batches, toy_loop
fit(toy(), toy_batches(), toy_loop(10**7, report_seconds=0.2), sys.argv[1])
"""


def test_sigterm_saves_and_exits_cleanly(tmp_path):
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "XLA_FLAGS": xla_flags(), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read().splitlines()[-1]
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert last.startswith("stopped and saved at step")
    assert last.endswith("--resume")
    saved = int(last.split("step ")[1].split(";")[0])
    assert (tmp_path / "checkpoints" / str(saved)).is_dir()
