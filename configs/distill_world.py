"""The bundled model in 4 evaluations: distills the 9-layer teacher, with its guidance, into a flow map.

    python -m sorajax.train configs/distill_world.py

docs/training.md says what the student learns; its figures are in the model card.
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
