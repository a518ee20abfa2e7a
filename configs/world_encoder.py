"""The whole embedded autoencoder, trained on with a wider encoder and more weight on objects.

    python -m sorajax.train configs/world_encoder.py

What the narrow encoder loses are the points of small stars, and no decoder brings them back
(configs/world_decoder.py). Latents change, so they are encoded anew and the transformer follows:

    python -m sorajax.train configs/world_dit.py --vae runs/world_encoder --loop.start MODEL

Hardware and time: 2 CPU cores; see the model card in sorajax/assets/world.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.train import load_experiment
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

WHOLE = load_experiment(Path(__file__).with_name("world_vae.py"))

config = replace(
    WHOLE,
    model=replace(WHOLE.model, base=64),
    objective=replace(WHOLE.objective, l1=1.0, objects=6.0),
    loop=LoopConfig(
        steps=1_900,
        start=Path("runs/world_decoder2"),
        optimizer=OptimizerConfig(
            name="muon", learning_rate=8e-4, schedule="linear", decay=0.8, warmup=60, weight_decay=0.0, ema=0.996),
    ),
)
