"""A new objective is one short file: `init` and `loss`, and an experiment that composes it."""

import pytest

from sorajax.commands.train import main

TOY = '''
from dataclasses import dataclass
import flax.struct
import jax
import jax.numpy as jnp
from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig


@flax.struct.dataclass
class Line:
    """Learns the slope of a line."""

    slope: jax.Array

    def init(self, key):
        return {"w": jnp.zeros(())}

    def loss(self, params, batch, key):
        return jnp.mean((params["w"] * batch["x"] - self.slope * batch["x"]) ** 2), {"w": params["w"]}


@dataclass(frozen=True)
class Training:
    loop: LoopConfig = LoopConfig(steps=60, optimizer=OptimizerConfig(learning_rate=0.2, warmup=1, weight_decay=0.0))

    def build(self, directory):
        data = batches(lambda bucket, rng: {"x": rng.normal(size=8).astype("float32")}, (Bucket(),))
        return Line(jnp.float32(3.0)), data


config = Training()
'''


def test_a_new_objective_of_thirty_lines_trains(tmp_path, capsys):
    code = tmp_path / "line.py"
    code.write_text(TOY)
    assert len(TOY.strip().splitlines()) < 36  # imports and all
    options = ["--loop.steps", "80", "--loop.report-seconds", "0"]
    assert main([str(code), "--directory", str(tmp_path / "run"), *options]) == 0
    last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step 80/80")][-1]
    assert float(last.split(" w ")[1].split(" ")[0]) == pytest.approx(3.0, abs=0.1)
    assert (tmp_path / "run" / "checkpoints" / "80").is_dir()
