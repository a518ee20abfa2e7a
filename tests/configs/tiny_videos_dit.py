"""A transformer of videos that learns nothing worth keeping, in seconds. Needs --vae and --latents."""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket, Phase
from sorajax.data.videos.clips import VideoData
from sorajax.training.experiments import load_experiment

WORLD = load_experiment(Path(__file__).with_name("tiny_dit.py"))

config = replace(
    WORLD,
    text=replace(WORLD.text, vocabulary=320),
    data=VideoData(
        buckets=(Bucket(9, 32, 32), Bucket(1, 32, 32)),
        tokens=160,
        phases=(Phase(1, (0, 1)), Phase(1, (1, 1))),
        held_out=0.3,
        most_broken=0.2,
    ),
    loop=replace(WORLD.loop, steps=4, validate_every=2),
    validation=1,
)
