"""The captioner and expander of the bundled model: 0.8 M parameters over the latents of its autoencoder.

    python -m sorajax.train configs/captioner.py --encoded 24000

Hardware: 1 CPU core.
Time: not measured.
Result: not measured.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.language.network import WordsConfig
from sorajax.training.experiments.captioner import CaptionerTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.captioner import CaptionerObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

config = CaptionerTraining(
    model=WordsConfig(),
    objective=CaptionerObjective(),
    data=WorldData(
        buckets=(
            Bucket(17, 64, 64, batch_size=32, weight=12),
            Bucket(33, 64, 64, batch_size=32),
            Bucket(17, 64, 96, batch_size=32),
            Bucket(17, 96, 64, batch_size=32),
        ),
        mix=WorldMix(two_objects=0.35, wall=0.1, two_shots=0.12, camera=0.3, style=0.35),
        seed=32,
    ),
    buckets=(
        Bucket(17, 64, 64, batch_size=64, weight=6),
        Bucket(33, 64, 64, batch_size=32, weight=0.8),
        Bucket(17, 64, 96, batch_size=48, weight=0.6),
        Bucket(17, 96, 64, batch_size=48, weight=0.6),
        Bucket(25, 64, 64, batch_size=40, weight=0.3),
        Bucket(9, 64, 64, batch_size=64, weight=0.2),
        Bucket(1, 64, 64, batch_size=64, weight=0.3),
    ),
    latents=Path("latents/captioner"),
    loop=LoopConfig(
        minutes=45,
        optimizer=OptimizerConfig(name="muon", learning_rate=2e-3, warmup=50, weight_decay=0.0, ema=0.998),
    ),
)
