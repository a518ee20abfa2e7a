"""The embedded model's autoencoder: 4x8x8 pixels to one latent of 12 channels, trained on crops around objects.

Hardware: 2 CPU cores, which other programs shared.
Time: 90 minutes (42 and 48, docs/model_history.md).
Result: not measured by itself; 32.8 dB PSNR on 256 unseen clips after configs/world_decoder.py and
configs/world_encoder.py.
"""

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.vae import VAEConfig
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective
from sorajax.training.optimizer import OptimizerConfig

config = VAETraining(
    model=VAEConfig(
        base=32,
        multipliers=(1, 2, 2),
        strides=((2, 2), (2, 1)),
        residual_blocks=1,
        pixel_patch=4,
        latent_channels=12,
    ),
    objective=VAEObjective(l1=0.3, mse=8.0, kl=3e-5, noise=0.05),
    data=WorldData(
        buckets=(
            Bucket(9, 64, 64, batch_size=6, crop=32, weight=5),
            Bucket(17, 64, 64, batch_size=2, weight=1),
        ),
    ),
    loop=LoopConfig(
        steps=11_500,
        optimizer=OptimizerConfig(
            name="muon", learning_rate=2.5e-3, schedule="cosine", warmup=50, weight_decay=0.0, ema=0.997
        ),
    ),
)
