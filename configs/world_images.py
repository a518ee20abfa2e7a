"""The bundled model's first stage: single images of the world, where a step costs a fifth of one on clips.

Colours, shapes, sizes, backgrounds and styles are learned here; configs/world_dit.py continues with motion.

Hardware: 2 CPU cores.
Time: 15 minutes for 300 steps, with 6 layers (docs/model_history.md).
Result: not measured by itself; configs/world_dit.py has the bundled model's figures.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.training.experiments import load_experiment

video = load_experiment(Path(__file__).with_name("world_dit.py"))
config = replace(
    video,
    data=replace(video.data, buckets=(Bucket(1, 64, 64, batch_size=128),)),
    loop=replace(video.loop, steps=300, optimizer=replace(video.loop.optimizer, schedule="constant")),
)
