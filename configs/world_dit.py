"""The embedded model: a transformer and its text encoder on the world, 64x64, 17 frames at 8 per second.

Needs the autoencoder of configs/world_vae.py, and continues the images of configs/world_images.py:

    python -m sorajax.train configs/world_vae.py
    python -m sorajax.train configs/world_images.py --directory runs/world_dit
    python -m sorajax.train configs/world_dit.py --resume

docs/model_history.md has all training stages of the bundled model, most of them this file with options.

Hardware: 2 CPU cores.
Time: 82 minutes for 1,750 steps, 10 of them encoding, with 6 layers; docs/model_history.md has the other stages.
Result: after all stages, at 30 steps, of 128 prompts each, seen / held out: colour 100 / 100%, shape 94.5 / 91.4%,
motion 96.9 / 96.1%, whole prompts 67.2 / 75.0%.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.dit import DiTConfig
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
        depth=9,
        heads=4,
        in_channels=12,
        out_channels=12,
        patch=(1, 2, 2),
        text_width=128,
        frequencies=128,
        pooled_text=True,
        unroll=9,
        remat="none",
    ),
    text=TextConfig(vocabulary=768, width=128, hidden=384, depth=2, heads=4, head_width=32, tokens=48),
    vae=Path("runs/world_vae"),
    objective=FlowObjective(
        time_mean=0.4,
        time_std=1.2,
        known=0.25,
        guidance_scale=3.0,
        temperature=0.7,
        drop_conditioning_in_cfg=True,
        redo_latents=1,
    ),
    data=WorldData(
        buckets=(
            Bucket(17, 64, 64, batch_size=48, weight=7),
            Bucket(1, 64, 64, batch_size=96, weight=0.8),
            Bucket(17, 64, 96, batch_size=32, weight=0.7),
            Bucket(17, 96, 64, batch_size=32, weight=0.7),
            Bucket(33, 64, 64, batch_size=24, weight=2),
            Bucket(17, 96, 96, batch_size=20, weight=0.4),
            Bucket(1, 64, 96, batch_size=64, weight=0.25),
            Bucket(1, 96, 64, batch_size=64, weight=0.25),
            Bucket(1, 96, 96, batch_size=48, weight=0.25),
            Bucket(65, 64, 64, batch_size=48, weight=1.5, window_frames=17),
        ),
        mix=WorldMix(two_objects=0.08, wall=0.03, two_shots=0.03, camera=0.06, style=0.06),
    ),
    latents=Path("latents/world"),
    encoded=12_000,
    loop=LoopConfig(
        steps=2_050,
        save_every=100,
        preview_every=100,
        optimizer=OptimizerConfig(name="muon", learning_rate=3e-3, schedule="linear", decay=0.6, warmup=50, ema=0.998),
    ),
    storage="float16",
)
