"""An autoencoder for frames of a recorded game, starting from the bundled one.

    python -m sorajax.record latents/craftax
    python -m sorajax.train configs/play_vae.py
    python -m sorajax.record latents/craftax --vae runs/play_vae
    python -m sorajax.train configs/play_dit.py --plays latents/craftax --model.dit.actions 17 \\
        --model.autoencoder runs/play_vae --directory runs/craftax

Hardware: 1 CPU core.
Time: 38 minutes for 1,300 steps.
Result: 30.9 dB on frames of held-out clips, with a decoder of 64 channels. docs/play.md has the table of what survives
it, and says why the bundled autoencoder is not enough.
"""

from pathlib import Path

from sorajax.models.folder import WORLD
from sorajax.training.experiments import load_experiment
from sorajax.training.experiments.frames import FrameTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective
from sorajax.training.optimizer import OptimizerConfig

BOX = Path(__file__).with_name("world_small_decoder.py")  # trained the autoencoder in the box

config = FrameTraining(
    model=load_experiment(BOX).model,
    batch_size=16,
    objective=VAEObjective(l1=1.0, mse=4.0, kl=1e-5),
    loop=LoopConfig(
        steps=1_300,
        start=WORLD,
        save_every=250,
        validate_every=250,
        optimizer=OptimizerConfig(name="muon", learning_rate=2e-3, schedule="linear", decay=0.6, warmup=50, ema=0.99),
    ),
)
