"""A decoder twice as wide for the bundled autoencoder, whose latents, and with them the transformer, stay the same.

    python -m sorajax.train configs/world_decoder.py
    python -m sorajax.train configs/world_decoder.py --loop.start runs/world_decoder --directory runs/world_decoder2 \
        --objective.objects 6 --objective.l1 1.0 --loop.steps 1100 --loop.optimizer.learning-rate 1e-3 \
        --loop.optimizer.decay 1.0 --loop.optimizer.warmup 30 --loop.optimizer.ema 0.995
    python -m sorajax.train configs/world_dit.py --vae runs/world_decoder2 --resume     exports it with the transformer

It starts as the same function. It cannot restore the points of small stars, which the latents do not contain.

Hardware: 2 CPU cores.
Time: 48 and 18 minutes (docs/model_history.md).
Result: 1 dB better than the narrow decoder after the first command.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.training.experiments import load_experiment
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

WHOLE = load_experiment(Path(__file__).with_name("world_vae.py"))

config = replace(
    WHOLE,
    model=replace(WHOLE.model, decoder_base=64),
    decoder_only=True,
    objective=replace(WHOLE.objective, kl=0.0),
    loop=LoopConfig(
        steps=3_300,
        start=Path("runs/world_vae"),
        optimizer=OptimizerConfig(
            name="muon", learning_rate=1.2e-3, schedule="linear", decay=0.95, warmup=100, weight_decay=0.0, ema=0.998
        ),
    ),
)
