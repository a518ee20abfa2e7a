"""An adapter for styles: every training clip is drawn as sketch, neon or film.

    python -m sorajax.train configs/world_lora.py
    python -m sorajax.sample "a red ball bounces on a grey floor" --lora runs/world_lora/model/lora.safetensors:0.8

A small experiment that shows how adapters are trained; for your own videos give `data=VideoData(...)`, as
configs/videos_dit.py does.

Hardware: 2 CPU cores.
Time: about 1 s a step with the earlier weights of 6 layers; not measured with 9.
Result: not measured.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.folder import WORLD
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

config = LoRATraining(
    base=WORLD,
    rank=8,
    alpha=8.0,
    objective=FlowObjective(time_mean=0.4, time_std=1.2, known=0.0),
    data=WorldData(
        buckets=(Bucket(17, 64, 64, batch_size=16),),
        mix=WorldMix(two_objects=0.0, wall=0.0, two_shots=0.0, camera=0.0, style=1.0),
    ),
    loop=LoopConfig(
        steps=200,
        save_every=100,
        preview_every=100,
        optimizer=OptimizerConfig(learning_rate=1e-3, schedule="linear", warmup=10, ema=0.98, weight_decay=0.0),
    ),
)
