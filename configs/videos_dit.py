"""A transformer for your own videos, starting from the bundled one; first on small, short clips, then on larger ones.

    python -m sorajax.train configs/videos_vae.py --data.folder videos
    python -m sorajax.train configs/videos_dit.py --data.folder videos

Raw videos are prepared and encoded into `latents` before the first step. Watch `held out: loss`, which is measured at
fixed times and noise. For an accelerator and real footage raise `--data.tokens` and start from your own shapes, as
configs/world_large.py does.

Hardware: 2 CPU cores.
Time: about 1 s a step, with the earlier 6 layers; not measured with 9.
Result: of 300 films (docs/training.md) held-out loss 0.291 after 600 steps, and, on 32 prompts that were not trained
on, colour and background 100%, shape 78%, motion 81%; measured with the earlier weights of 6 layers.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket, Phase
from sorajax.data.videos.clips import VideoData
from sorajax.models.folder import WORLD
from sorajax.training.experiments import load_experiment
from sorajax.training.experiments.flow import FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

EMBEDDED = load_experiment(Path(__file__).with_name("world_dit.py"))

config = FlowTraining(
    model=EMBEDDED.model,
    text=EMBEDDED.text,
    vae=Path("runs/videos_vae"),
    objective=EMBEDDED.objective,
    data=VideoData(
        buckets=(
            Bucket(17, 64, 64),
            Bucket(1, 64, 64),
            Bucket(17, 64, 96),
            Bucket(17, 96, 64),
            Bucket(33, 64, 64),
        ),
        tokens=2048,
        phases=(Phase(100, (1, 1, 0, 0, 0)), Phase(1, (4, 1, 2, 2, 2))),
    ),
    latents=Path("latents/videos"),
    loop=LoopConfig(
        steps=600,
        start=WORLD,
        save_every=100,
        preview_every=100,
        validate_every=50,
        optimizer=OptimizerConfig(name="muon", learning_rate=1e-3, schedule="linear", decay=0.8, warmup=50, ema=0.99),
    ),
    storage="float16",
)
