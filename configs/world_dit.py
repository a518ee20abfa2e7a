"""The embedded model: a transformer and its text encoder on the world, 64x64, 17 frames at 8 per second.

Needs the autoencoder of configs/world_vae.py. Hardware and time: 2 CPU cores, about a day; resume as often as you like.
Expected result: see the model card.
"""

from pathlib import Path

from sorajax.data.batches import WorldData
from sorajax.data.buckets import Bucket
from sorajax.data.scenes import CORE
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.training.flow import FlowObjective, FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

config = FlowTraining(
    model=DiTConfig(
        width=192,
        hidden=768,
        depth=8,
        heads=4,
        in_channels=8,
        out_channels=8,
        patch=(1, 1, 1),
        text_width=128,
        pooled_text=True,
        unroll=8,
        remat="none",
    ),
    text=TextConfig(vocabulary=768, width=128, hidden=384, depth=3, heads=4, head_width=32, tokens=48),
    vae=Path("runs/world_vae"),
    objective=FlowObjective(),
    data=WorldData(buckets=(Bucket(17, 64, 64, batch_size=48),), mix=CORE),
    latents=Path("latents/world"),
    encoded=20_000,
    loop=LoopConfig(
        steps=20_000,
        save_every=500,
        preview_every=500,
        optimizer=OptimizerConfig(name="muon", learning_rate=2e-3, schedule="linear", decay=0.3, warmup=200),
    ),
)
