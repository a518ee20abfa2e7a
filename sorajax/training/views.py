"""Views of clips for training and previews: crops around objects, whole examples, rows of frames.

World clips are rendered inside the step, from a random moment on. A bucket with a `crop` trains on squares around an
object, or anywhere in a video: convolutions need no whole frames.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, UInt8

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch, WorldData, clips, scene_maker
from sorajax.world.draw import Truth, draw


def views(batch: WorldBatch, key: jax.Array) -> tuple[Float[Array, "b t h w 3"], Float[Array, "b t h w 1"]]:
    """The clips of a batch, cut to the bucket's crop; and 1 for pixels near an object of the world, 0 elsewhere.

    Scenes begin at a random moment of the first two seconds.
    """
    moment_key, place_key = jax.random.split(key)
    bucket = batch.bucket
    frame, limit = jnp.array([bucket.width, bucket.height]), jnp.array([bucket.width, bucket.height]) - bucket.crop
    if batch.scene is None:
        video = clips(batch)
        near = jnp.zeros((*video.shape[:-1], 1))
        corner = jax.random.randint(place_key, (len(video), 2), 0, limit + 1)
    else:
        first = jax.random.randint(moment_key, (), 0, 17)
        video, truth = draw(batch.scene, *bucket.size, first=first, needs=batch.needs)
        near = near_objects(truth, bucket.height, bucket.width)
        middle = truth.centre[:, bucket.frames // 2, 0] * min(bucket.height, bucket.width) + frame / 2
        middle = middle + jax.random.uniform(place_key, middle.shape, minval=-bucket.crop / 2, maxval=bucket.crop / 2)
        corner = jnp.clip(jnp.round(middle - bucket.crop / 2).astype(jnp.int32), 0, limit)
    if not bucket.crop:
        return video, near
    side = bucket.crop

    def cut(clip: Float[Array, "t h w c"], at: Array) -> Float[Array, "t side side c"]:
        return jax.lax.dynamic_slice(clip, (0, at[1], at[0], 0), (clip.shape[0], side, side, clip.shape[-1]))

    return jax.vmap(cut)(video, corner), jax.vmap(cut)(near, corner)


def near_objects(truth: Truth, height: int, width: int) -> Float[Array, "b t h w 1"]:
    """1 for pixels within 1.5 radii of a visible object's centre."""
    unit = min(height, width)
    x = (jnp.arange(width) + 0.5 - width / 2) / unit - truth.centre[..., 0][..., None, None]
    y = (jnp.arange(height)[:, None] + 0.5 - height / 2) / unit - truth.centre[..., 1][..., None, None]
    inside = jnp.square(x) + jnp.square(y) < jnp.square(1.5 * truth.radius)[..., None, None]
    return jnp.any(inside & (truth.visible > 0)[..., None, None], 2).astype(jnp.float32)[..., None]


def example_clips(data: WorldData | VideoData, seen: Any, count: int, seed: int) -> Float[Array, "b t h w 3"]:
    """Whole clips of the first bucket, always the same ones for a seed: of videos those in `seen`, uint8."""
    if isinstance(data, VideoData):
        chosen = np.arange(seed * count, (seed + 1) * count) % len(seen)
        return clips(WorldBatch(pixels=seen[chosen]))
    bucket = dataclasses.replace(data.buckets[0], batch_size=count, crop=0)
    made: Array = jax.jit(clips)(scene_maker(data)(bucket, np.random.default_rng((data.seed, 2**32 - 1, seed))))
    return made


def frame_rows(video: Float[np.ndarray, "b t h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
    """A row of six frames of each clip in [-1, 1], one picture."""
    shown = np.linspace(0, video.shape[1] - 1, min(6, video.shape[1])).round().astype(int)
    grid = rearrange(video[:, shown], "b t h w c -> (b h) (t w) c")
    return np.clip(np.round((grid + 1) * 127.5), 0, 255).astype(np.uint8)
