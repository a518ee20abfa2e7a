"""An adapter for Wan 2.1 1.3B on your own videos: a style, a subject, a motion.

    python -m sorajax.train configs/wan_lora.py --base Wan2.1-T2V-1.3B --data.folder videos
    python -m sorajax.sample "..." --model Wan2.1-T2V-1.3B --lora runs/wan_lora/model/lora.safetensors:0.8

The frozen transformer stays in bfloat16, 2.8 GB, or in 8 bits with --quantize int8; adapters of rank 16 are computed
beside it.

Hardware: one accelerator of 16 GB (`python -m sorajax.plan configs/wan_lora.py --base Wan2.1-T2V-1.3B --topology
v5e:1x1`: 9.8 GiB at most).
Time: not measured; at least 3.9 s a step of 81 frames on one v5e, by the same plan.
Result: not measured on the real weights; tiny random ones are trained in tests/training/experiments/test_tune.py.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.training.experiments import load_experiment
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import OptimizerConfig

WHOLE = load_experiment(Path(__file__).with_name("wan_tune.py"))

config = LoRATraining(
    base=WHOLE.base,
    dtype="bfloat16",
    rank=16,
    alpha=16.0,
    objective=WHOLE.objective,
    data=replace(WHOLE.data, tokens=32_760),
    latents=WHOLE.latents,
    loop=LoopConfig(
        steps=1_000,
        save_every=250,
        preview_every=0,
        validate_every=100,
        optimizer=OptimizerConfig(learning_rate=1e-4, schedule="linear", warmup=50, ema=0.99, weight_decay=0.0),
    ),
)
