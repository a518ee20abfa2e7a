"""A transformer of 28 layers on short small clips: quick to plan for machines that are not here."""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.training.experiments import load_experiment

full = load_experiment(Path(__file__).parents[2] / "configs" / "dit_xl.py")
config = replace(
    full,
    model=replace(full.model, width=512, hidden=1024, heads=4, text_width=256),
    text=replace(full.text, vocabulary=1024, width=256, hidden=512, depth=2, heads=4),
    data=replace(full.data, buckets=(Bucket(5, 128, 128),), phases=(), tokens=16_384),
)
