"""An autoencoder for your own videos, starting from the bundled one: crops of clips at 8 frames per second.

    python -m sorajax.train configs/videos_vae.py --data.folder videos

Watch `held out: psnr`.

Hardware: 2 CPU cores.
Time: 17 minutes for 300 steps on 300 films (docs/training.md), on cores that other programs shared.
Result: 33.4 dB on held-out films, from 33.3, with a decoder of 64 channels and without structure and
flicker in the loss.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.data.videos.clips import VideoData
from sorajax.models.folder import WORLD
from sorajax.training.experiments import load_experiment
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective
from sorajax.training.optimizer import OptimizerConfig

BOX = Path(__file__).with_name("world_small_decoder.py")  # trained the autoencoder in the box

config = VAETraining(
    model=load_experiment(BOX).model,
    # Structure and flicker need no network that somebody else trained. In longer runs, on an accelerator, add a critic:
    # --objective.adversarial.weight 0.1 --objective.adversarial.after 1000
    objective=VAEObjective(l1=1.0, mse=0.0, kl=1e-5, structure=0.1, flicker=0.5),
    data=VideoData(
        # The autoencoder is convolutional: squares teach it all shapes, and each bucket compiles for minutes on a CPU.
        buckets=(Bucket(9, 64, 64, batch_size=6, crop=32, weight=5), Bucket(17, 64, 64, batch_size=2)),
    ),
    loop=LoopConfig(
        steps=300,
        start=WORLD,
        save_every=100,
        preview_every=100,
        validate_every=50,
        optimizer=OptimizerConfig(learning_rate=2e-4, schedule="cosine", warmup=20, ema=0.99),
    ),
)
