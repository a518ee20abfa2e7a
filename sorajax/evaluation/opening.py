"""Times the loading of a transformer: by the reference, by ours from the same files, and by ours from converted files.

Needs the extra `parity`; its libraries are imported where they are used.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sorajax.devices.placement import ONE_DEVICE
from sorajax.devices.residency import Parts
from sorajax.evaluation.reference import reference_transformer
from sorajax.evaluation.speed import alternating, random_parameters
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import init_dit
from sorajax.pretrained.conventions import Dtype, known_config
from sorajax.pretrained.converted import CONVERTED, converted_part, save_converted
from sorajax.pretrained.open import streamed_source
from sorajax.pretrained.part import Part
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.wan import dit_table

DTYPE: Dtype = "bfloat16"
WAYS = ("reference", "ours", "converted")
MODEL = "Wan2.1-T2V-1.3B"
SHARD = "500MB"


def opening(repeats: int, **changes: Any) -> dict[str, Any]:
    """Median seconds of each of `WAYS` to load Wan 2.1's small transformer in bfloat16, in turns, from float32 shards
    that the reference has written; and its `bytes` in memory.

    `changes` are fields of the transformer's config. Files are in the system's cache, so the disk's time is excluded.
    Raises RuntimeError if converted and original files open with different values.
    """
    known = known_config(MODEL, DTYPE)
    config = replace(known, dit=replace(known.dit, **changes))
    with tempfile.TemporaryDirectory() as directory:
        shards, made = Path(directory) / "shards", Path(directory) / "converted"
        _write(config.dit, shards)
        part = Part(dit_table(config.dit), lambda: Tensors(shards), init_dit, config.dit)
        save_converted(config, Parts({"dit": lambda: part.load(DTYPE)}, {}), "", made)
        read = {"ours": part, "converted": converted_part(made / CONVERTED / "dit", part)}
        sources = {name: streamed_source(one, DTYPE) for name, one in read.items()}
        ways = {name: partial(source.load, ONE_DEVICE, lambda name, leaf: leaf) for name, source in sources.items()}
        same = jax.tree.map(np.array_equal, ways["ours"](), ways["converted"]())
        if not all(jax.tree.leaves(same)):
            raise RuntimeError("converted files open with other values than the originals: nothing is timed")
        seconds = alternating({"reference": partial(_theirs, shards), **ways}, repeats)
        return {**seconds, "bytes": part.bytes(DTYPE)}


def _write(config: DiTConfig, folder: Path) -> None:
    reference_transformer(config, random_parameters(partial(init_dit, config))).save_pretrained(
        folder, max_shard_size=SHARD
    )


def _theirs(folder: Path) -> None:
    import torch
    from diffusers import WanTransformer3DModel

    WanTransformer3DModel.from_pretrained(folder, torch_dtype=getattr(torch, DTYPE))
