"""The watermark's signal and reader.

    python -m sorajax.train configs/watermark.py --data.pictures FOLDER
    cp runs/watermark/model/model.safetensors sorajax/assets/watermark/

Hardware: 1 CPU core, which other programs shared.
Time: 37 minutes for 569 steps, after which the run was stopped.
Result: the correlation of the read signal with the written one is 0.51 in the last hundred steps, 0.36 in the first.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.covers import CoverData
from sorajax.training.experiments.watermark import WatermarkTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

config = WatermarkTraining(
    data=CoverData(
        world=0.4,
        buckets=(Bucket(9, 256, 256, batch_size=4), Bucket(9, 96, 96, batch_size=12)),
    ),
    loop=LoopConfig(
        steps=2_000,
        optimizer=OptimizerConfig(name="muon", learning_rate=2e-3, warmup=30, weight_decay=0.0, ema=0.99),
        save_every=200,
        preview_every=0,
    ),
)
