"""The bundled model in 4 evaluations: distills it, with its guidance, into a flow map.

    python -m sorajax.train configs/distill_world.py
    python -m sorajax.evaluate world --model runs/distill_world --num 512 --splits seen held_out

docs/training.md says what the student learns.

Hardware: 2 CPU cores.
Time: 2.6 s a step on quiet cores, so 65 minutes, after 12 minutes of compiling on busy ones.
Result: not measured for all 1,500 steps. After 213 steps and 159 more from there, in 100 minutes on busy cores, 4
evaluations give 61.7 / 62.5% whole prompts (512 each, seen / held out). 420 more from there, in 59 minutes, with the
first bucket's weight 20 and --objective.grids 4 4 4 2 1, give 67.2 / 64.3%. The teacher's 24 evaluations give 70.7 /
71.5%. configs/reward_world.py continues from there.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.folder import WORLD
from sorajax.training.experiments.distill import DistillTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.distill import DistillObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

config = DistillTraining(
    teacher=WORLD,
    until_blocks=3,
    objective=DistillObjective(teacher_steps=12, pairs=6),
    known=0.4,
    data=WorldData(
        buckets=(
            Bucket(17, 64, 64, batch_size=12, weight=7),
            Bucket(1, 64, 64, batch_size=32, weight=0.4),
            Bucket(17, 64, 96, batch_size=8, weight=0.5),
            Bucket(17, 96, 64, batch_size=8, weight=0.5),
            Bucket(33, 64, 64, batch_size=8, weight=1),
            Bucket(65, 64, 64, batch_size=12, weight=1, window_frames=17),
        ),
        mix=WorldMix(two_objects=0.08, wall=0.03, two_shots=0.03, camera=0.06, style=0.06),
        dropout=0.05,
    ),
    loop=LoopConfig(
        steps=1_500,
        save_every=100,
        validate_every=100,
        preview_every=0,
        optimizer=OptimizerConfig(
            name="muon", learning_rate=1e-3, schedule="linear", decay=0.6, warmup=20, ema=0.99, weight_decay=0.0
        ),
    ),
    storage="float16",
)
