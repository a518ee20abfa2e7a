"""A cache of latents of the world, for machines where rendering and encoding take longer than the training step.

A folder contains, for each bucket, `FRAMESxHEIGHTxWIDTH.npy` (float16 latents [clips t h w c], memory-mapped) and a
`.npz` (the scenes, from which a new caption is sampled whenever a clip is used), and `latents.json`, which is written
last and records the autoencoder and the mix.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sorajax.data.buckets import Bucket, stem
from sorajax.data.worlds import Tokenize, WorldBatch, WorldData, caption_tokens, clips, scene_maker
from sorajax.files import write_atomically
from sorajax.models.folder import from_json, to_json
from sorajax.world.scenes import Scene, WorldMix

INDEX = "latents.json"


def signature(params: Any) -> str:
    """A short hash of an encoder's parameters; the decoder's do not affect latents."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def write_latents(
    directory: str | Path,
    data: WorldData,
    count: int,
    encode: Callable[[jax.Array], jax.Array],
    made_by: str,
    say: Callable[[str], None] = print,
) -> Path:
    """Renders and encodes clips: `count` for the most frequent bucket and proportionally many for the others, so that
    all clips are used equally often. `encode` maps clips in [-1, 1] to latents [b t h w c].

    `made_by` is the autoencoder's `signature`. A bucket that has enough clips already is not encoded again. Raises
    ValueError where the folder was made with another autoencoder, mix or seed.
    """
    directory = Path(directory)
    origin = {"made_by": made_by, "mix": to_json(data.mix), "seed": data.seed}
    done: dict[str, int] = {}
    if (directory / INDEX).exists():
        recorded = json.loads((directory / INDEX).read_text())
        done, recorded["mix"] = (
            recorded.pop("clips"),
            to_json(from_json(recorded["mix"], WorldMix)),
        )  # adds newer fields
        if recorded != origin:
            raise ValueError(f"{directory} was made by another autoencoder, mix or seed: choose another folder")
    directory.mkdir(parents=True, exist_ok=True)
    frequencies = [bucket.weight * bucket.batch_size for bucket in data.buckets]
    for number, bucket in enumerate(data.buckets):
        needed = math.ceil(count * frequencies[number] / max(frequencies))
        if done.get(stem(bucket), 0) < needed:
            _write_bucket(directory, data, number, bucket, needed, encode, say)
            done[stem(bucket)] = needed
            text = json.dumps(origin | {"clips": done}, indent=2)
            write_atomically(directory / INDEX, lambda path, text=text: path.write_text(text))
    return directory


def _write_bucket(
    directory: Path,
    data: WorldData,
    number: int,
    bucket: Bucket,
    count: int,
    encode: Callable[[jax.Array], jax.Array],
    say: Callable[[str], None],
) -> None:
    make, step = scene_maker(data), jax.jit(lambda batch: encode(clips(batch)))
    scenes: list[Scene] = []

    def write(path: Path) -> None:
        rows = None
        for start in range(0, count, bucket.batch_size):
            batch = make(bucket, np.random.default_rng((data.seed, number, start)))
            latent = np.asarray(step(batch))[: count - start]
            if rows is None:
                shape = (count, *latent.shape[1:])
                rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            rows[start : start + len(latent)] = latent
            scenes.append(first_rows(batch.scene, len(latent)))
            if (start // bucket.batch_size) % 50 == 0:
                say(f"{stem(bucket)}: {start}/{count} clips encoded")
        assert rows is not None
        rows.flush()

    write_atomically(directory / f"{stem(bucket)}.npy", write)
    scene = jax.tree.map(lambda *leaves: np.concatenate(leaves), *scenes)
    write_atomically(directory / f"{stem(bucket)}.npz", lambda path: np.savez(path, **scene._asdict()))


def first_rows(scene: Scene, count: int) -> Scene:
    """The first `count` clips of a batch of scenes."""
    return jax.tree.map(lambda leaf: leaf[:count], scene)


def latent_maker(
    directory: str | Path, data: WorldData, encode: Tokenize, made_by: str
) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Makes batches of random cached clips with newly sampled captions; `encode` is a tokenizer's, `made_by` as in
    `write_latents`.

    Raises FileNotFoundError or ValueError, on one line, where the folder lacks the buckets of `data`.
    """
    directory = Path(directory)
    if not (directory / INDEX).exists():
        raise FileNotFoundError(f"{directory} holds no encoded latents: add --encoded 20000 to make them first")
    index = json.loads((directory / INDEX).read_text())
    if index["made_by"] != made_by:
        raise ValueError(f"{directory} was encoded by another autoencoder: encode again into a new folder")
    if missing := [bucket for bucket in data.buckets if stem(bucket) not in index["clips"]]:
        raise ValueError(f"{directory} has no {stem(missing[0])} clips: it has {', '.join(index['clips'])}")
    rows = {stem(bucket): np.load(directory / f"{stem(bucket)}.npy", mmap_mode="r") for bucket in data.buckets}
    scenes = {}
    for bucket in data.buckets:
        with np.load(directory / f"{stem(bucket)}.npz") as file:
            scenes[stem(bucket)] = Scene(**{name: file[name] for name in Scene._fields})

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        name = stem(bucket)
        selected = np.sort(rng.integers(0, len(rows[name]), bucket.batch_size))
        scene = jax.tree.map(lambda leaf: leaf[selected], scenes[name])
        ids, mask = caption_tokens(scene, bucket, data, encode, rng)
        return WorldBatch(latent=np.asarray(rows[name][selected]), ids=ids, mask=mask, bucket=bucket)

    return make
