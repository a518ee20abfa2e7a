"""Trains the interactive model to correct its own errors: it first continues the encoded plays, then sees those frames.

    python -m sorajax.train configs/play_own.py

docs/play.md explains the method. A second run, with --own and --loop.start naming the first one's directory, sees the
frames of the better model.

Hardware: 2 CPU cores, which other programs shared.
Time: 26 minutes for 1,100 steps, after 11 in which the first model continued 1,600 plays.
Result: 30 of 32 plays of a minute keep colour, shape, size and floor, after a second run from the first, with
--loop.optimizer.learning-rate 1e-3 --seed 1. Of the model before both runs, 3 of 8 did. A third run kept as many as
the second, and the mean of their weights, by sorajax.average, keeps 92 of 96; docs/play.md has the table. The first two
runs' own frames had temperature 1 and a context time of 0.2.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.training.experiments import load_experiment

TRAINED = Path("runs/play_dit")
FIRST = load_experiment(Path(__file__).with_name("play_dit.py"))

config = replace(
    FIRST,
    own=TRAINED,
    loop=replace(
        FIRST.loop,
        start=TRAINED,
        steps=1_100,
        optimizer=replace(FIRST.loop.optimizer, learning_rate=1.5e-3, decay=0.8),
    ),
)
