"""A transformer that learns nothing worth keeping, in seconds. Needs --vae."""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.training.experiments.flow import FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import CORE

config = FlowTraining(
    model=DiTConfig(
        width=16, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, text_width=8, frequencies=8, remat="none"
    ),
    text=TextConfig(vocabulary=300, width=8, hidden=16, depth=1, heads=2, head_width=4, tokens=160),
    vae=Path("runs/tiny_vae"),
    objective=FlowObjective(sample_steps=2, prompts=("a red ball bounces",)),
    data=WorldData(buckets=(Bucket(5, 32, 32, batch_size=8),), mix=CORE),
    loop=LoopConfig(steps=2, optimizer=OptimizerConfig(learning_rate=3e-3, warmup=1), preview_every=2),
)
