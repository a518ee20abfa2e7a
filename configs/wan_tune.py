"""Fine-tunes all of Wan 2.1 1.3B on your own videos.

    python -m sorajax.train configs/wan_tune.py --base Wan-AI/Wan2.1-T2V-1.3B-Diffusers --data.folder videos
    python -m sorajax.sample "what one of your captions says" --model runs/wan_tune

Videos are prepared, and encoded by the model's own autoencoder and text encoder, before the first step; then the
transformer alone is in memory: 1.4 billion parameters, four times in float32 (themselves, their average, two moments)
and their gradients, split over all devices.

Hardware: eight accelerators of 16 GB or more; `python -m sorajax.plan configs/wan_tune.py --topology v5e:2x4` prints
the memory and time of a step before you rent anything.
Time: not measured.
Result: not measured on the real weights; tiny random ones are trained in tests/training/experiments/test_tune.py.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket, Phase
from sorajax.data.videos.clips import VideoData
from sorajax.training.experiments.tune import TuneTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig

config = TuneTraining(
    base=Path("Wan2.1-T2V-1.3B"),
    objective=FlowObjective(known=0.0, shift=3.0, sample_shift=5.0, guidance_scale=5.0, prompts=("a cat on a sofa",)),
    data=VideoData(
        buckets=(
            Bucket(1, 480, 832),
            Bucket(33, 480, 832),
            Bucket(33, 832, 480),
            Bucket(81, 480, 832),
            Bucket(81, 832, 480),
        ),
        fps=16.0,
        tokens=8 * 32_760,  # a clip of 81 frames for each of eight devices
        phases=(Phase(500, (1, 4, 4, 0, 0)), Phase(1, (1, 1, 1, 4, 4))),
    ),
    latents=Path("latents/wan"),
    loop=LoopConfig(
        steps=2_000,
        save_every=250,
        preview_every=0,
        validate_every=100,
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-5, schedule="constant", warmup=100, ema=0.998),
    ),
)
