"""The larger model of the world: 17 M parameters, images to 33 frames, up to 96x96, the whole vocabulary.

Needs the autoencoder of configs/world_vae.py. Clips are rendered and encoded inside the step, so nothing is cached.
Hardware: one accelerator of at least 24 GB (batches of 256 clips), or several with --loop.mesh; bfloat16 products.
Time: 40,000 steps of about 8 TFLOP, rendering and encoding not counted: under an hour at a quarter of an H100's peak.
Expected result: not yet measured; in bfloat16 the exported model with its autoencoder stays under 40 MB.
"""

from pathlib import Path

from sorajax.data.batches import WorldData
from sorajax.data.buckets import Bucket
from sorajax.data.scenes import FULL
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.training.flow import FlowObjective, FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

config = FlowTraining(
    model=DiTConfig(
        width=384,
        hidden=1536,
        depth=6,
        heads=6,
        in_channels=12,
        out_channels=12,
        patch=(1, 1, 1),
        text_width=192,
        pooled_text=True,
        remat="none",
        dtype="bfloat16",
    ),
    text=TextConfig(
        vocabulary=768, width=192, hidden=512, depth=3, heads=6, head_width=32, tokens=56, dtype="bfloat16"
    ),
    vae=Path("runs/world_vae"),
    objective=FlowObjective(known=0.5),
    data=WorldData(
        buckets=(
            Bucket(1, 64, 64, batch_size=512, weight=1),
            Bucket(17, 64, 64, batch_size=256, weight=4),
            Bucket(17, 64, 96, batch_size=192, weight=2),
            Bucket(17, 96, 64, batch_size=192, weight=2),
            Bucket(17, 96, 96, batch_size=128, weight=1),
            Bucket(33, 64, 64, batch_size=128, weight=2),
        ),
        mix=FULL,
        threads=8,
        ahead=16,
    ),
    loop=LoopConfig(
        steps=40_000,
        save_every=1000,
        preview_every=1000,
        optimizer=OptimizerConfig(
            name="muon", learning_rate=1e-3, schedule="linear", decay=0.3, warmup=500, ema=0.9995, weight_decay=0.01
        ),
    ),
    storage="bfloat16",
)
