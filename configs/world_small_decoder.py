"""A smaller decoder for the bundled autoencoder, whose latents, and with them the transformers, stay the same.

    python -m sorajax.train configs/world_small_decoder.py

It began as the decoder of 64 channels that was bundled before (docs/model_history.md), 24 of whose channels were merged
with their copies (`training.growth.narrower`). From the present one the command trains on.

Hardware: 2 CPU cores, of which it used one.
Time: 61 minutes for 4,500 steps, beside other programs; 0.4 s a step on a quiet core.
Result: 32.6 dB PSNR on 256 unseen clips of the world, where the larger decoder has 32.8, at 41 % of its FLOPs.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.models.folder import WORLD
from sorajax.training.experiments import load_experiment
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

WHOLE = load_experiment(Path(__file__).with_name("world_encoder.py"))

config = replace(
    WHOLE,
    model=replace(WHOLE.model, decoder_base=40),
    decoder_only=True,
    objective=replace(WHOLE.objective, kl=0.0, objects=10.0),
    data=replace(WHOLE.data, mix=WorldMix(small_stars=0.4, turning=0.3, quickly=0.4, slowly=0.2)),
    loop=LoopConfig(
        steps=4_500,
        save_every=500,
        validate_every=500,
        preview_every=0,
        start=WORLD,
        optimizer=OptimizerConfig(
            name="muon", learning_rate=1e-3, schedule="linear", decay=0.9, warmup=50, weight_decay=0.0, ema=0.997
        ),
    ),
    storage="float16",
)
