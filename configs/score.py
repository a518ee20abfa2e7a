"""The score of text and video of the bundled model: two towers of 0.04 M parameters on the captioner's encoder.

Needs the clips that configs/captioner.py encoded:

    python -m sorajax.train configs/score.py

The bundled weights then had a second run, on other clips (configs/captioner.py with --data.seed 1), a third of them
decoded (docs/training.md), and with more short captions:

    python -m sorajax.train configs/score.py --loop.start runs/score/model --decoded 0.3 --shares 0.6 0.3 0.1 \\
        --loop.minutes 9 --loop.optimizer.learning-rate 1.5e-3 --directory runs/score_again

Hardware: 1 CPU core.
Time: 3 minutes, and 9 minutes for 704 steps of the second run, on cores that other programs shared.
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
