"""The watermark's signal and reader.

    python -m sorajax.train configs/watermark.py --data.pictures FOLDER
    cp runs/watermark/model/model.safetensors sorajax/assets/watermark/

FOLDER has pictures of your own; without --data.pictures there are the world's scenes and drawn pictures only.

Hardware: 1 CPU core, which other programs shared.
Time: 3,500 steps in 75 minutes (--loop.minutes 75).
Result: the correlation of the read signal with the written one is 0.56 in the last hundred steps, 0.48 in the second.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.covers import CoverData
from sorajax.training.experiments.watermark import WatermarkTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

config = WatermarkTraining(
    data=CoverData(
        world=0.3,
        buckets=(Bucket(9, 256, 256, batch_size=4), Bucket(9, 96, 96, batch_size=12)),
    ),
    loop=LoopConfig(
        steps=3_500,
        optimizer=OptimizerConfig(name="muon", learning_rate=2e-3, warmup=30, weight_decay=0.0, ema=0.99),
        save_every=200,
        preview_every=0,
    ),
)
