"""An adapter for an image-to-video model on your own videos; each clip's first frame is its picture.

    python -m sorajax.train configs/wan_i2v_lora.py --base Wan2.2-I2V-A14B --data.folder videos --expert high
    python -m sorajax.train configs/wan_i2v_lora.py --base Wan2.2-I2V-A14B --data.folder videos --expert low \
        --directory runs/wan_i2v_lora_low
    python -m sorajax.sample "..." --model Wan2.2-I2V-A14B --image cat.png \
        --lora runs/wan_i2v_lora/model/lora.safetensors --lora runs/wan_i2v_lora_low/model/lora.safetensors

Each of two experts is trained in a run of its own, on its own range of times; both read the same latents. Wan 2.1 has
one transformer and is trained without --expert. To train all parameters, use the same options with configs/wan_tune.py.
The frozen transformer stays in bfloat16, 28 GB, or in 8 bits with --quantize int8.

Hardware: one accelerator of 80 GB (`python -m sorajax.plan configs/wan_i2v_lora.py --base Wan2.2-I2V-A14B --expert high
--topology v5p:1x1x1`: 56 GiB at most), or smaller ones with `--mesh fsdp=-1`.
Time: not measured; at least 9.3 s a step of 81 frames on one v5p, by the same plan.
Result: not measured on the real weights; tiny random ones are trained in tests/training/test_picture.py.
"""

from dataclasses import replace
from pathlib import Path

from sorajax.data.buckets import Bucket
from sorajax.training.experiments import load_experiment

ADAPTER = load_experiment(Path(__file__).with_name("wan_lora.py"))

config = replace(
    ADAPTER,
    base=Path("Wan2.2-I2V-A14B"),
    data=replace(
        ADAPTER.data,
        buckets=(Bucket(33, 480, 832), Bucket(33, 832, 480), Bucket(81, 480, 832), Bucket(81, 832, 480)),
        phases=(),
    ),
    latents=Path("latents/wan_i2v"),
)
