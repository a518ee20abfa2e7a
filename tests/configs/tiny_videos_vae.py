"""An autoencoder of videos that learns nothing worth keeping, in seconds."""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.clips import VideoData
from sorajax.train import load_experiment

WORLD = load_experiment(Path(__file__).with_name("tiny_vae.py"))

config = replace(
    WORLD,
    data=VideoData(buckets=(Bucket(9, 32, 32, batch_size=4, crop=16),), held_out=0.3, most_broken=0.2),
    loop=replace(WORLD.loop, validate_every=1),
    validation=1,
)
