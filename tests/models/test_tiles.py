"""Large frames are decoded tile by tile, as a stream, in the memory of one tile, and equal what is decoded whole."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import sorajax
from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData, clips, scene_maker
from sorajax.models import tiles
from sorajax.models.sora import init_vae
from sorajax.models.stream import Stream, decode_singly, next_pixels
from sorajax.models.tiles import core, decode_tiles, next_features, next_tile_pixels, reach, tile_starts
from sorajax.models.vae import VAE, VAEConfig
from sorajax.training.autoencoder import load_vae
from tests.cases import slow_after

WAN21 = VAEConfig(base=4, latent_channels=4)
WAN22 = VAEConfig(base=4, decoder_base=8, shortcuts=True, pixel_patch=2, latent_channels=4)
CONFIGS = {
    "two levels": replace(WAN21, multipliers=(1, 2), strides=((2, 2),), residual_blocks=1),
    "Wan 2.1's structure": WAN21,
    "Wan 2.2's structure": WAN22,
    "one level": replace(WAN21, multipliers=(1,), strides=()),
    "a level that keeps its size": replace(WAN21, multipliers=(1, 2, 2), strides=((2, 2), (2, 1)), residual_blocks=1),
}


@pytest.fixture(scope="module")
def trained():
    """The autoencoder in the box, and latents of a clip larger than it has ever seen."""
    config, params = load_vae(Path(sorajax.__file__).parent / "assets" / "world")
    bucket = Bucket(5, 192, 192, batch_size=1)
    video = jax.jit(clips)(scene_maker(WorldData(buckets=(bucket,)))(bucket, np.random.default_rng(0)))
    encode = jax.jit(partial(VAE(config).apply, method="encode"))
    return config, params, np.asarray(encode({"params": params}, video))


@pytest.mark.parametrize(("length", "side", "overlap"), [(10, 4, 1), (11, 4, 2), (4, 4, 1), (3, 4, 2), (60, 40, 24)])
def test_the_cores_of_tiles_cover_the_frame(length, side, overlap):
    places = tile_starts(length, side, overlap)
    cores = [core(start, side, length, overlap // 2) for start in places]
    assert {position for one in cores for position in range(length)[one]} == set(range(length))
    assert all(start + side <= max(side, length) for start in places)


def random_case(config: VAEConfig, height: int, width: int):
    """Random parameters with which every stage matters, and latents of three frames."""
    shapes, rng = jax.eval_shape(partial(init_vae, config), jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.05, 0.2, leaf.shape).astype(np.float32), shapes)
    return params, rng.normal(size=(1, 3, height, width, config.latent_channels)).astype(np.float32)


@pytest.mark.parametrize("name", slow_after(1, list(CONFIGS)))
def test_a_tile_equals_the_whole_where_its_core_is(name):
    """In float32 within 1e-4, of pixels that differ by more than that beyond the core. What is not a number spreads as
    far as pixels depend on it: it reaches the last pixel before the core, and none in it."""
    config = CONFIGS[name]
    around, (_, _, columns) = reach(config), config.stride
    side, height, width = 3 * around, 3 * around, 5 * around
    params, latent = random_case(config, height, width)
    whole, features = (
        np.concatenate(list(Stream(params, config, {}, jax.jit(part, static_argnums=1)).frames(parts_of(latent))), 1)
        for part in (pixels_of, features_of)
    )
    scale = features.shape[3] // width
    inside = np.split(features[:, :, :, around * scale : (around + side) * scale], cuts(features, latent), 1)
    decode = jax.jit(tile_of, static_argnums=1)
    tile = np.concatenate(list(Stream(params, config, {}, decode).frames(inside)), 1)
    error = np.abs(tile - whole[:, :, :, around * columns : (around + side) * columns]).max((0, 1, 2, 4))
    assert whole.std() > 0.05
    kept = slice(around * columns, (side - around) * columns)
    assert error[kept].max() < 1e-4
    assert min(error[:columns].max(), error[-columns:].max()) > 1e-3  # so the measure sees what is missing
    inside[0][:, :, :, :scale] = np.nan
    spread = np.isnan(next(Stream(params, config, {}, decode).frames(inside))).any((0, 1, 2, 4))
    assert around * columns <= np.flatnonzero(spread).max() < (1 + around) * columns


def parts_of(latent):
    return [latent[:, at : at + 1] for at in range(latent.shape[1])]


def cuts(features, latent):
    each = (features.shape[1] - 1) // (latent.shape[1] - 1)
    return [1 + each * at for at in range(latent.shape[1] - 1)]


def pixels_of(params, config, latent, cache):
    return next_pixels(config, params, latent, cache)


def features_of(params, config, latent, cache):
    return next_features(config, params, latent, cache)


def tile_of(params, config, features, cache):
    return next_tile_pixels(config, params, features, cache)


def test_decoding_in_tiles_equals_decoding_whole(trained):
    """In the middle all positions of a frame attend to each other, so it runs on whole frames."""
    config, params, latent = trained
    made, _ = decode_tiles(params, config, latent, {}, side=3 * reach(config))
    assert all(len(tile_starts(size, 3 * reach(config), 2 * reach(config))) > 1 for size in latent.shape[2:4])
    difference = np.abs(made.astype(int) - decode_singly(params, config, latent, {})[0])
    assert made.dtype == np.uint8
    assert difference.max() <= 1  # rounded at the half
    assert (difference > 0).mean() < 1e-3


def test_tiled_decoding_streams(trained):
    config, params, latent = trained
    side = 3 * reach(config)
    at_once, nothing = decode_tiles(params, config, latent, {}, side, ends=True)
    assert not jax.tree.leaves(nothing)
    first, caches = decode_tiles(params, config, latent[:, :1], {}, side)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(caches))  # on the host: tiles are many
    second, _ = decode_tiles(params, config, latent[:, 1:], caches, side)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), at_once)


@pytest.mark.slow
def test_larger_frames_reuse_the_compiled_program(trained):
    config, params, latent = trained
    decode_tiles(params, config, latent, {}, side=3 * reach(config))
    before = tiles.tile_part._cache_size()
    larger = np.concatenate([latent, latent, latent], 3)
    made, _ = decode_tiles(params, config, larger, {}, side=3 * reach(config))
    assert made.shape == (1, 5, 192, 576, 3)
    assert tiles.tile_part._cache_size() == before
