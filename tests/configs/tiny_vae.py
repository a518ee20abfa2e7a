"""An autoencoder that learns nothing worth keeping, in seconds."""

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.vae import VAEConfig
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import CORE

config = VAETraining(
    model=VAEConfig(base=4, multipliers=(1, 1), strides=((2, 2),), residual_blocks=1, pixel_patch=4, latent_channels=4),
    objective=VAEObjective(moments=8, noise=0.1),
    data=WorldData(buckets=(Bucket(5, 32, 32, batch_size=8, crop=16),), mix=CORE),
    loop=LoopConfig(steps=2, optimizer=OptimizerConfig(learning_rate=3e-3, warmup=1), preview_every=2),
)
