"""Learning from a reward: the distilled model makes clips in 4 evaluations, and correct ones become likelier.

    python -m sorajax.train configs/reward_world.py --model runs/distill_world
    python -m sorajax.evaluate world --model runs/reward_world --num 512 --splits seen held_out

docs/training.md explains the method, and how to use a reward of your own.

Hardware: 2 CPU cores.
Time: 11 s a step on quiet cores of an AMD EPYC, so 30 minutes; 30 s on an Intel Xeon. 38 to 150 s of compiling.
Result: not measured for all 160 steps. 57 steps with --loop.minutes 44, from a model with 67.2 / 64.3% whole prompts
(512 each, seen / held out), gave 78.5 / 77.1%. The held-out reward went from 0.769 after 20 steps to 0.790 after 40.
The reward then had no part for what few prompts have, and half the weight for gravity and bounce height. The bundled
model world-fast is the mean of those weights and of 60 more steps with the present reward: docs/model_history.md.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.training.experiments.reward import RewardTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.reward import RewardObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

config = RewardTraining(
    model=Path("runs/distill_world"),
    objective=RewardObjective(group=16, steps=4, points=2),
    data=WorldData(
        buckets=(Bucket(17, 64, 64, batch_size=6),),
        mix=WorldMix(two_objects=0.05, wall=0.03, two_shots=0.02, camera=0.04, style=0.03, slowly=0.35, quickly=0.35),
        register="canonical",
        dropout=0.0,
    ),
    validation=16,
    loop=LoopConfig(
        steps=160,
        save_every=20,
        validate_every=20,
        preview_every=0,
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=2e-4,
            beta1=0.9,
            beta2=0.95,
            schedule="linear",
            decay=0.4,
            warmup=5,
            ema=0.9,
            weight_decay=0.0,
        ),
    ),
    storage="float16",
)
