"""The targets of distillation beside each other: a short training of each, from the bundled model.

    python -m sorajax.train configs/distill_targets.py --directory runs/trajectory
    for target in jump difference derivative; do
        python -m sorajax.train configs/distill_targets.py --directory runs/$target --objective.target $target \
            --data.buckets.0.batch-size 72
    done

A trajectory gives 6 mean velocities, the other targets one for each clip: so each step learns from 72.

Hardware: 1 CPU core, which other programs used too.
Time: 21 to 37 s a step, 25 to 46 minutes for each target, 4 to 19 of them compiling.
Result: in 4 evaluations a student of trajectories makes 60.9 % of whole prompts right, one of jumps 55.1 %
(docs/model_history.md).
"""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.training.experiments import load_experiment

WHOLE = load_experiment(Path(__file__).with_name("distill_world.py"))

config = replace(
    WHOLE,
    known=0.25,
    data=replace(WHOLE.data, buckets=(Bucket(17, 64, 64, batch_size=12),), dropout=0.0),
    loop=replace(
        WHOLE.loop,
        steps=60,
        save_every=20,
        validate_every=20,
        optimizer=replace(WHOLE.loop.optimizer, warmup=5, ema=0.95),
    ),
)
