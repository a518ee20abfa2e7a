"""A research model of 0.7 billion parameters on real video, up to 81 frames of 832x480, on a slice of TPUs or GPUs.

    python -m sorajax.plan configs/dit_xl.py --topology v5p:4x4x4 --mesh data=4,fsdp=16
    python -m sorajax.encode videos --out latents/mine --vae Wan2.1-T2V-1.3B --fps 16 \\
        --buckets 81x480x832 17x240x416 1x480x832
    python -m sorajax.train configs/dit_xl.py --data.folder latents/mine --mesh data=4,fsdp=16

The transformer is DiT-XL's (Peebles & Xie 2023, table 1: 28 layers of 1152, 16 heads) in the Wan form, the autoencoder
Wan 2.1's. Training progresses from small, short clips to large, long ones.

Hardware: 64 chips of v5p or as many GPUs of 80 GB; the plan prints a step's memory and a lower bound of its time.
Time: not measured.
Result: not measured; nobody has trained it.
"""

from pathlib import Path

from sorajax.data.buckets import Bucket, Phase
from sorajax.data.videos.clips import VideoData
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.training.experiments.flow import FlowTraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig

config = FlowTraining(
    model=DiTConfig(
        width=1152,
        hidden=4608,
        depth=28,
        heads=16,
        in_channels=16,
        out_channels=16,
        text_width=1024,
        remat="full",
        dtype="bfloat16",
    ),
    text=TextConfig(
        vocabulary=32_768,
        width=1024,
        hidden=2816,
        depth=12,
        heads=16,
        head_width=64,
        tokens=256,
        dtype="bfloat16",
    ),
    vae=Path("Wan2.1-T2V-1.3B"),
    autoencoder=VAEConfig(),
    objective=FlowObjective(known=0.3, shift=3.0, sample_shift=5.0),
    data=VideoData(
        buckets=(
            Bucket(81, 480, 832),
            Bucket(17, 240, 416),
            Bucket(1, 480, 832),
        ),
        fps=16.0,
        tokens=2_097_152,
        phases=(Phase(20_000, (0, 1, 1)), Phase(1, (4, 1, 1))),
        threads=16,
        prefetch=16,
    ),
    loop=LoopConfig(
        steps=100_000,
        save_every=1000,
        preview_every=0,
        validate_every=1000,
        optimizer=OptimizerConfig(
            learning_rate=2e-4, schedule="linear", decay=0.2, warmup=2000, ema=0.9995, state_dtype="bfloat16"
        ),
    ),
    storage="bfloat16",
)
