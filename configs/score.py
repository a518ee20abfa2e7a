"""The score of text and video of the bundled model: two towers of 0.04 M parameters on the captioner's encoder.

Needs the clips that configs/captioner.py encoded:

    python -m sorajax.train configs/score.py

Hardware: 1 CPU core.
Time: 3 minutes.
Result: docs/captions.md has the rate at which a clip's own caption is found among 100.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.training.experiments.score import ScoreTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

config = ScoreTraining(
    buckets=(Bucket(17, 64, 64, batch_size=96),),
    latents=Path("latents/captioner"),
    loop=LoopConfig(
        steps=600,
        preview_every=0,
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup=30, weight_decay=0.0, ema=0.99),
    ),
)
