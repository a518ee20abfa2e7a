"""An interactive model of the world: 64x64, 8 frames and actions per second, left, right, jump and nothing.

    python -m sorajax.train configs/play_dit.py --encoded 1600

Autoencoder and text encoder are the bundled model's. The autoencoder encodes every frame by itself, so there is none
to train.

Hardware: 2 CPU cores, which other programs shared.
Time: 56 minutes for 2,600 steps, 9 more to encode 1,600 plays.
Result: control 96% over 8 plays of a minute, 2 evaluations a frame, 3 of 8 keep their object, at temperature 1 and
context time 0.2. configs/play_own.py continues from there.
"""

from sorajax.models.dit import DiTConfig
from sorajax.models.play import PlayConfig
from sorajax.training.experiments.play import PlayTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.actions import ACTIONS

config = PlayTraining(
    model=PlayConfig(
        dit=DiTConfig(
            width=128,
            hidden=480,
            depth=5,
            heads=4,
            in_channels=12,
            out_channels=12,
            patch=(1, 2, 2),
            text_width=128,
            frequencies=64,
            pooled_text=True,
            unroll=5,
            remat="none",
            actions=len(ACTIONS),
        ),
        temperature=0.6,
    ),
    loop=LoopConfig(
        steps=2_600,
        save_every=100,
        validate_every=250,
        optimizer=OptimizerConfig(name="muon", learning_rate=3e-3, schedule="linear", decay=0.6, warmup=50, ema=0.995),
    ),
)
