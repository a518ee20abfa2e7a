"""The whole bundled autoencoder, trained further with a wider encoder; every second object is a small star.

    python -m sorajax.train configs/world_encoder.py
    python -m sorajax.train configs/world_encoder.py --loop.start runs/world_encoder --directory runs/world_encoder2 \
        --objective.objects 10 --loop.steps 950 --loop.seed 1 --data.seed 1 --loop.optimizer.learning-rate 7e-4 \
        --loop.optimizer.decay 0.9 --loop.optimizer.warmup 30

The narrow encoder loses the points of small stars, and no decoder restores them (configs/world_decoder.py). The next
two commands add quickly turning objects, of which four frames share a latent:

    python -m sorajax.train configs/world_encoder.py --loop.start MODEL --directory runs/world_encoder3 \
        --objective.objects 10 --loop.steps 2900 --loop.seed 2 --data.seed 2 --loop.optimizer.decay 0.9 \
        --loop.optimizer.warmup 30 --loop.optimizer.ema 0.997 --data.mix.small-stars 0.3 --data.mix.turning 0.5 \
        --data.mix.quickly 0.6 --data.mix.slowly 0.1
    python -m sorajax.train configs/world_encoder.py --loop.start runs/world_encoder3 --directory runs/world_encoder4 \
        --objective.objects 14 --loop.steps 640 --loop.seed 3 --data.seed 3 --loop.optimizer.learning-rate 5e-4 \
        --loop.optimizer.decay 0.9 --loop.optimizer.warmup 20 --loop.optimizer.ema 0.99 --data.mix.small-stars 0.55 \
        --data.mix.turning 0.3 --data.mix.quickly 0.4 --data.mix.slowly 0.2

The latents change, so the clips are encoded again and the transformer is trained further:

    python -m sorajax.train configs/world_dit.py --vae runs/world_encoder4 --loop.start MODEL --latents latents/FOLDER

Hardware: 2 CPU cores.
Time: 19, 10, 46 and 7 minutes for the four trainings of the autoencoder (docs/model_history.md).
Result: 32.8 dB PSNR on 256 unseen clips of the world after the fourth.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.training.experiments import load_experiment
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig
from sorajax.world.scenes import WorldMix

WHOLE = load_experiment(Path(__file__).with_name("world_vae.py"))

config = replace(
    WHOLE,
    model=replace(WHOLE.model, base=64),
    objective=replace(WHOLE.objective, l1=1.0, objects=6.0),
    data=replace(WHOLE.data, mix=WorldMix(small_stars=0.5)),
    loop=LoopConfig(
        steps=1_900,
        start=Path("runs/world_decoder2"),
        optimizer=OptimizerConfig(
            name="muon", learning_rate=8e-4, schedule="linear", decay=0.8, warmup=60, weight_decay=0.0, ema=0.996
        ),
    ),
)
