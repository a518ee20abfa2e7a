"""Laws of shapes: any size that the autoencoder's strides allow, at full pixel size too, in bounded memory."""

from functools import partial

import jax
import numpy as np
import pytest

from sorajax.diffusion.samplers import SAMPLERS
from sorajax.media.video import Video
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.stream import decode_singly, decode_to_bytes
from sorajax.models.text import Tokenizer
from sorajax.models.tiles import decode_tiles
from sorajax.models.vae import VAEConfig
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.program import sample_latents
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for
from sorajax.tasks import edit
from tests.conftest import TINY, tiny_tokenizer
from tests.weights import init

LARGE = SoraConfig(
    text=TINY.text,
    dit=DiTConfig(
        width=8, hidden=16, depth=1, heads=1, in_channels=4, out_channels=4, text_width=8, frequencies=8, remat="none"
    ),
    vae=VAEConfig(
        base=2, multipliers=(1, 1, 1, 1), strides=((1, 2), (2, 2), (2, 2)), residual_blocks=0, latent_channels=4
    ),
    sizes=((1080, 1920), (1920, 1080)),
    frames=(5, 1),
    steps=1,
)
"""The strides and patches of the open models, at their pixel sizes, and hardly any width."""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    shapes = jax.eval_shape(partial(init, LARGE), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes)
    return Pipeline(LARGE, params, Tokenizer(tiny_tokenizer(), LARGE.text.tokens), "large")


@pytest.mark.parametrize(
    ("width", "height", "memory", "decoder"),
    [
        pytest.param(544, 960, 2**20, decode_tiles, id="tall, in tiles"),
        pytest.param(1080, 1920, 2**20, decode_tiles, id="taller, in tiles", marks=pytest.mark.slow),
        pytest.param(1920, 1080, 2**40, decode_singly, id="wide, whole", marks=pytest.mark.slow),
    ],
)
def test_large_frames_are_decoded_in_tiles_where_memory_is_small(pipeline, monkeypatch, width, height, memory, decoder):
    monkeypatch.setattr("sorajax.sampling.codec.memory_of_devices", lambda: memory)
    (image,) = pipeline("a red ball", width=width, height=height, frames=1, guidance_scale=1.0)
    assert image.frames.shape == (1, height, width, 3)
    assert image.frames.std() > 0
    assert pipeline.codec.decoder((1, 1, height // 8, width // 8, 4)) is decoder
    assert pipeline.codec.decoder((1, 1, 64, 64, 4)) is decode_to_bytes  # 512x512


def planned_bytes(frames: int) -> int:
    """Of sampling at full size, as the compiler plans it."""
    settings = settings_for(Request(("a",), width=1920, height=1080, frames=frames), LARGE)
    params = jax.eval_shape(partial(init, LARGE), jax.random.key(0))
    conditions = abstract_conditions(LARGE, settings.latent, settings.steps)
    function = jax.jit(partial(sample_latents, LARGE, SAMPLERS["euler"], True, None))
    program = function.lower(params["dit"], conditions).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_memory_grows_no_faster_than_the_tokens():
    assert planned_bytes(17) / planned_bytes(5) < 5 / 2  # latent frames


def test_a_size_between_patches_is_cropped_from_whole_patches(pipeline):
    settings = pipeline.plan(Request(("a",), width=24, height=40, frames=1))
    assert settings.latent == (1, 6, 4, 4)
    (image,) = pipeline("a red ball", width=24, height=40, frames=1)
    assert image.frames.shape == (1, 40, 24, 3)
    mask = np.zeros((40, 24), bool)
    mask[:20] = True
    request = Request(("a red ball",), width=24, height=40)
    (edited,) = edit(pipeline, request, Video(image.frames, 8.0), 0.9, mask)
    assert np.array_equal(edited.frames[:, 20:], image.frames[:, 20:])
