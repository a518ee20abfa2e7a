"""Encoding of prepared clips into latents, once, on the accelerator.

    FOLDER/latents/SIGNATURE/00003.17x64x64.arrayrecord     latents (float16) and captions of part 3, by bucket, and
                                                            further inputs of the model (first frame), if any
    FOLDER/latents/SIGNATURE/00003.json                     the source file of each of them; written last

SIGNATURE is a hash of the encoder's parameters, so that latents of different encoders never mix. A part is complete
when its .json exists. The processes of a multi-host run share the parts; each process shards its batches over its local
devices.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial

from sorajax.data.buckets import Bucket, stem
from sorajax.data.records import Records, decode_frames, write_records
from sorajax.data.videos.preparation import DUPLICATES, fits, is_duplicate, parts_of_clips, read_settings
from sorajax.devices.distributed import print_once
from sorajax.devices.sharding import batch_sharding, make_mesh
from sorajax.files import write_atomically

LATENTS = "latents"
EncodeClips = Callable[[jax.Array], jax.Array | dict[str, jax.Array]]
"""Clips [b t h w 3] in [-1, 1] -> latents [b t h w c], or {"latent": latents, ...} with further inputs of the model.
The parameters of a `jax.tree_util.Partial` are arguments of the compiled program, those of other functions
constants."""


def encode_clips(
    folder: Path, open_encode: Callable[[], EncodeClips], made_by: str, say: Callable[[str], None] = print_once
) -> Path:
    """Encodes all prepared clips that are no duplicates; returns the folder of the latents. Resumes an earlier call.

    `open_encode` opens the encoder, whose signature is `made_by`; it is not called where all clips are encoded already.
    Raises ValueError, naming the file, where a prepared part is damaged.
    """
    target = folder / LATENTS / made_by
    target.mkdir(parents=True, exist_ok=True)
    doubled = json.loads((folder / DUPLICATES).read_text())
    buckets = {stem(bucket): bucket for bucket in read_settings(folder).buckets}
    mesh = make_mesh(devices=jax.local_devices())
    parts = parts_of_clips(folder)[jax.process_index() :: jax.process_count()]
    step: Callable[[Any], dict[str, jax.Array]] | None = None
    for number, (path, summary) in enumerate(parts):
        index = target / f"{path.stem}.json"
        if index.exists():
            continue
        if step is None:
            step = on_devices(open_encode(), mesh)
        source_paths: dict[str, list[str]] = {}
        unique = [i for i, clip in enumerate(summary["clips"]) if not is_duplicate(clip, doubled)]
        for name in dict.fromkeys(summary["clips"][i]["bucket"] for i in unique):
            chosen = [i for i in unique if summary["clips"][i]["bucket"] == name]
            records = Records([path], [len(summary["clips"])])
            rows = latents_of(records, chosen, buckets[name], step, mesh.size)
            write_records(target / f"{path.stem}.{name}.arrayrecord", rows)
            source_paths[name] = [summary["clips"][i]["path"] for i in chosen]
        text = json.dumps(source_paths, indent=0)
        write_atomically(index, lambda file, text=text: file.write_text(text))
        say(f"{target}: part {number + 1} of {len(parts)} encoded, {len(unique)} clips")
    return target


def on_devices(encode: EncodeClips, mesh: Mesh) -> Callable[[np.ndarray], dict[str, jax.Array]]:
    """The encoder as a compiled program, whose batches of uint8 clips are spread over a mesh of this process."""
    replicated, spread = NamedSharding(mesh, P()), batch_sharding(mesh)
    encode = encode if isinstance(encode, Partial) else Partial(encode)
    jitted = partial(jax.jit(_encode, in_shardings=(replicated, spread)), jax.device_put(encode, replicated))
    return lambda pixels: jitted(jax.device_put(pixels, spread))  # one of several processes passes no numpy arrays


def _encode(encode: EncodeClips, pixels: jax.Array) -> dict[str, jax.Array]:
    outputs = encode(pixels.astype(np.float32) / 127.5 - 1)
    named = outputs if isinstance(outputs, dict) else {"latent": outputs}
    return {name: value.astype(np.float16) for name, value in named.items()}


def latents_of(
    records: Records, chosen: list[int], bucket: Bucket, step: Callable[[Any], dict[str, jax.Array]], devices: int
) -> Iterator[dict[str, Any]]:
    """Records with the outputs of `step` in place of pixels. A thread decodes files in advance, and the last batch is
    padded."""
    size = -(-bucket.batch_size // devices) * devices
    groups = [chosen[start : start + size] for start in range(0, len(chosen), size)]

    def read(group: list[int]) -> tuple[list[dict[str, Any]], np.ndarray]:
        batch = [records[index] for index in group]
        frames = [decode_frames(record.pop("pixels")) for record in batch]
        return batch, np.stack([*frames, *[frames[-1]] * (size - len(frames))])

    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(read, group) for group in groups[:2]]
        for number in range(len(groups)):
            batch, pixels = pending.pop(0).result()
            if number + 2 < len(groups):
                pending.append(pool.submit(read, groups[number + 2]))
            outputs = {name: np.asarray(value) for name, value in step(pixels).items()}
            for row, record in enumerate(batch):
                yield {**record, **{name: value[row] for name, value in outputs.items()}}


def encoded_records(folder: Path, made_by: str, bucket: Bucket) -> tuple[Records, list[str]]:
    """Latents of a bucket, and the source file of each. A bucket of single frames also has all videos of its size, of
    which the first latent frame is used: the autoencoder is causal, so it encodes the first frame alone.

    Raises FileNotFoundError where the folder is not completely encoded by this autoencoder.
    """
    target = folder / LATENTS / made_by
    indices = sorted(target.glob("*.json"))
    if not indices or len(indices) < len(parts_of_clips(folder)):
        raise FileNotFoundError(f"{target} is not complete: encode with python -m sorajax.encode first")
    files: list[Path] = []
    sources: list[list[str]] = []
    for index in indices:
        for name, paths in json.loads(index.read_text()).items():
            if paths and fits(name, bucket):
                files.append(index.with_name(f"{index.stem}.{name}.arrayrecord"))
                sources.append(paths)
    return Records(files, [len(paths) for paths in sources]), [path for paths in sources for path in paths]
