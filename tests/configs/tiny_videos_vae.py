"""An autoencoder of videos that learns nothing worth keeping, in seconds; its critic plays in the second step."""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.videos.clips import VideoData
from sorajax.models.critic import CriticConfig
from sorajax.training.adversarial import AdversarialConfig
from sorajax.training.experiments import load_experiment

WORLD = load_experiment(Path(__file__).with_name("tiny_vae.py"))

config = replace(
    WORLD,
    objective=replace(
        WORLD.objective,
        structure=1.0,
        flicker=1.0,
        adversarial=AdversarialConfig(weight=0.1, after=1, ramp=1, critic=CriticConfig(base=4, levels=2)),
    ),
    data=VideoData(buckets=(Bucket(9, 32, 32, batch_size=4, crop=16),), held_out=0.3, most_broken=0.2),
    loop=replace(WORLD.loop, validate_every=1),
    validation=1,
)
