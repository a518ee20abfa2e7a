"""From prepared clips to latents, once, on the accelerator.

    FOLDER/latents/SIGNATURE/00003.17x64x64.arrayrecord     latents (float16) and captions of part 3, by bucket; where
                                                            a model reads more beside them (a picture), that too
    FOLDER/latents/SIGNATURE/00003.json                     the file that each of them comes from; written last

SIGNATURE is a hash of the encoder's parameters, so that latents of another one never mix. A part is done when its
.json is there. Processes of a multi-host run take parts in turn; each spreads its batches over its own devices.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial

from sorajax.data.buckets import Bucket, stem
from sorajax.data.records import Records, unpacked, write_records
from sorajax.data.videos.preparation import DUPLICATES, fits, is_duplicate, kept_settings, parts_of_clips
from sorajax.devices.sharding import batch_sharding, make_mesh
from sorajax.files import write_atomically

LATENTS = "latents"
EncodeClips = Callable[[jax.Array], jax.Array | dict[str, jax.Array]]
"""Clips [b t h w 3] in [-1, 1] -> latents, or {"latent": latents, ...} with what a batch has beside them. A
`jax.tree_util.Partial` has its parameters as arguments of what is compiled, any other function as constants in it."""


def encode_clips(
    folder: Path, open_encode: Callable[[], EncodeClips], made_by: str, say: Callable[[str], None] = print
) -> Path:
    """Encodes every prepared clip that is no duplicate; returns the folder of the latents.

    `open_encode` opens the encoder, whose signature is `made_by`; it is not called where nothing is left to do. Goes on
    where an earlier call ended. Raises ValueError, naming the file, where a prepared part is damaged.
    """
    target = folder / LATENTS / made_by
    target.mkdir(parents=True, exist_ok=True)
    doubled = json.loads((folder / DUPLICATES).read_text())
    buckets = {stem(bucket): bucket for bucket in kept_settings(folder).buckets}
    mesh = make_mesh(devices=jax.local_devices())
    everywhere = NamedSharding(mesh, P())
    jitted = jax.jit(_encoded, in_shardings=(everywhere, batch_sharding(mesh)))
    parts = parts_of_clips(folder)[jax.process_index() :: jax.process_count()]
    step: Callable[[Any], dict[str, jax.Array]] | None = None
    for number, (path, said) in enumerate(parts):
        index = target / f"{path.stem}.json"
        if index.exists():
            continue
        if step is None:
            encode = open_encode()
            whole = encode if isinstance(encode, Partial) else Partial(encode)
            step = partial(jitted, jax.device_put(whole, everywhere))
        held: dict[str, list[str]] = {}
        kept = [i for i, clip in enumerate(said["clips"]) if not is_duplicate(clip, doubled)]
        for name in dict.fromkeys(said["clips"][i]["bucket"] for i in kept):
            chosen = [i for i in kept if said["clips"][i]["bucket"] == name]
            records = Records([path], [len(said["clips"])])
            rows = latents_of(records, chosen, buckets[name], step, mesh.size)
            write_records(target / f"{path.stem}.{name}.arrayrecord", rows)
            held[name] = [said["clips"][i]["path"] for i in chosen]
        text = json.dumps(held, indent=0)
        write_atomically(index, lambda file, text=text: file.write_text(text))
        say(f"{target}: part {number + 1} of {len(parts)} encoded, {len(kept)} clips")
    return target


def _encoded(encode: EncodeClips, pixels: jax.Array) -> dict[str, jax.Array]:
    made = encode(pixels.astype(np.float32) / 127.5 - 1)
    named = made if isinstance(made, dict) else {"latent": made}
    return {name: value.astype(np.float16) for name, value in named.items()}


def latents_of(
    records: Records, chosen: list[int], bucket: Bucket, step: Callable[[Any], dict[str, jax.Array]], devices: int
) -> Iterator[dict[str, Any]]:
    """Records with what `step` makes of pixels in place of these. Files are decoded ahead by threads, and the last
    batch is filled up."""
    size = -(-bucket.batch_size // devices) * devices
    groups = [chosen[start : start + size] for start in range(0, len(chosen), size)]

    def read(group: list[int]) -> tuple[list[dict[str, Any]], np.ndarray]:
        found = [records[index] for index in group]
        frames = [unpacked(record.pop("pixels")) for record in found]
        return found, np.stack([*frames, *[frames[-1]] * (size - len(frames))])

    with ThreadPoolExecutor(1) as ahead:
        waiting = [ahead.submit(read, group) for group in groups[:2]]
        for number in range(len(groups)):
            found, pixels = waiting.pop(0).result()
            if number + 2 < len(groups):
                waiting.append(ahead.submit(read, groups[number + 2]))
            made = {name: np.asarray(value) for name, value in step(pixels).items()}
            for row, record in enumerate(found):
                yield {**record, **{name: value[row] for name, value in made.items()}}


def encoded_records(folder: Path, made_by: str, bucket: Bucket) -> tuple[Records, list[str]]:
    """Latents of a bucket, and the file that each comes from. A bucket of single frames has, besides stills, every film
    of its size, whose first latent frame is meant: the autoencoder is causal, so that is its first picture's latent.

    Raises FileNotFoundError where this autoencoder has not encoded the folder to the end.
    """
    target = folder / LATENTS / made_by
    found = sorted(target.glob("*.json"))
    if not found or len(found) < len(parts_of_clips(folder)):
        raise FileNotFoundError(f"{target} is not complete: encode with python -m sorajax.encode first")
    files: list[Path] = []
    sources: list[list[str]] = []
    for index in found:
        for name, paths in json.loads(index.read_text()).items():
            if paths and fits(name, bucket):
                files.append(index.with_name(f"{index.stem}.{name}.arrayrecord"))
                sources.append(paths)
    return Records(files, [len(paths) for paths in sources]), [path for paths in sources for path in paths]
