"""The larger model of the world, for minutes on one accelerator: 12 layers and 64 tokens a frame. The bundled model has
9 and 16.

It starts from the bundled model, with more layers and finer patches, and uses its autoencoder. Clips are rendered and
encoded inside the step, so the host only samples scenes and captions. It has three shapes, which are compiled before
the first step: clips of 17 frames, windows of long clips with the first frame far away, and large images.

    python -m sorajax.train configs/world_large.py --directory runs/world_large
    python -m sorajax.train configs/world_large.py --directory runs/next --loop.start runs/world_large    and goes on

The exported model comes in files of at most 15 MiB.

Hardware: one accelerator of 80 GB, or less with smaller batches (`--data.buckets.0.batch-size`). Planned for one H200
(`python -m sorajax.plan configs/world_large.py --topology h200:1`), by shape: 30.0, 20.1 and 15.8 GiB; at least 13, 9
and 7 ms a step, bound by memory, so that utilisation is at most 41, 56 and 29 %.
Time: `loop.minutes`, 8 by default, however fast the device is.
Result: not measured on an accelerator.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.dit import DiTConfig
from sorajax.models.folder import WORLD
from sorajax.models.text import TextConfig
from sorajax.training.experiments.flow import FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

config = FlowTraining(
    model=DiTConfig(
        width=192,
        hidden=768,
        depth=12,
        heads=4,
        in_channels=12,
        out_channels=12,
        patch=(1, 1, 1),
        text_width=128,
        frequencies=128,
        pooled_text=True,
        remat="none",
        dtype="bfloat16",
    ),
    text=TextConfig(
        vocabulary=768, width=128, hidden=384, depth=2, heads=4, head_width=32, tokens=56, dtype="bfloat16"
    ),
    vae=WORLD,
    objective=FlowObjective(
        time_mean=0.4,
        time_std=1.2,
        known=0.3,
        guidance_scale=3.0,
        temperature=0.7,
        drop_conditioning_in_cfg=True,
        redo_latents=1,
    ),
    data=WorldData(
        buckets=(
            Bucket(17, 64, 64, batch_size=256, weight=5),
            Bucket(65, 64, 64, batch_size=96, weight=2, window_frames=33),
            Bucket(1, 96, 96, batch_size=256, weight=1),
        ),
        mix=WorldMix(two_objects=0.2, wall=0.06, two_shots=0.06, camera=0.12, style=0.12),
        threads=8,
        prefetch=16,
    ),
    loop=LoopConfig(
        start=WORLD,
        minutes=8,
        preview_every=0,
        optimizer=OptimizerConfig(
            name="muon", learning_rate=2e-3, schedule="linear", decay=0.4, warmup=100, ema=0.999, weight_decay=0.01
        ),
    ),
    storage="bfloat16",
    shard_mib=15,
)
