"""Memory of sampling, estimated from shapes: near the compiler's figures, and what decides batches and tiles."""

import json
from dataclasses import replace

import jax
import pytest

from sorajax.devices.placement import Placement
from sorajax.devices.residency import Parts
from sorajax.devices.sharding import make_mesh
from sorajax.diffusion.caching import EasyCache
from sorajax.models.conditioning import MaskChannels
from sorajax.models.folder import CONFIG, WORLD, from_json
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained.part import abstract_parameters
from sorajax.sampling.memory import activation_bytes, batch_of, check_fits, nbytes, sampling_programs, tile_side
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for
from sorajax.training.ahead import compile_program
from tests.conftest import TINY


def test_image_models_and_two_experts_are_planned():
    """Of a small model that has all parts an open one may have; of experts one is there at a time."""
    base = from_json(json.loads((WORLD / CONFIG).read_text())["config"], SoraConfig)
    vision = VisionConfig(width=32, hidden=64, depth=3, heads=4, patch=14, size=56)
    channels = base.vae.latent_channels
    dit = replace(base.dit, in_channels=2 * channels + 4, image_width=vision.width, pooled_text=False)
    base = replace(base, drop_conditioning_in_cfg=False)
    config = replace(base, dit=dit, vision=vision, conditioning=MaskChannels(), boundary=0.9)
    inits = {
        "text": (init_text, config.text),
        "vision": (init_vision, vision),
        "dit": (init_dit, dit),
        "vae": (init_vae, config.vae),
    }
    weights = {name: abstract_parameters(init, shape, "float32") for name, (init, shape) in inits.items()}
    found = sampling_programs(config, weights, config.vae.latent_shape(17, 64, 64), 30)
    assert [stage.name for stage in found] == ["text", "vision", "encoder", "transformer", "decoder"]
    assert nbytes(found[3].arguments[0]) == nbytes(weights["dit"])
    one = Placement(make_mesh({}, jax.devices()[:1]))
    for stage in found[1:4]:
        compiled = compile_program(stage, one).memory_analysis()
        assert 0.4 < stage.planned / (nbytes(stage.arguments[0]) + compiled.temp_size_in_bytes) < 2.5


@pytest.mark.parametrize(
    ("asked", "clips", "cache", "expected"), [(None, 9, None, 1), (3, 9, None, 3), (3, 2, None, 2), (3, 9, "easy", 1)]
)
def test_a_batch_has_the_clips_that_were_asked_for_or_one_on_cpu(asked, clips, cache, expected):
    settings = settings_for(Request(("a",)), TINY)
    settings = replace(settings, cache=EasyCache(0.1) if cache else None)
    assert batch_of(Parts.of({"dit": 0}), TINY, settings, asked, clips) == expected


def test_a_clip_that_does_not_fit_is_refused_before_it_is_sampled():
    shape = 2, 4, 4, 4
    alone, both = (activation_bytes(TINY, shape, guided) for guided in (False, True))
    assert both == 2 * alone
    parts = Parts({}, {"dit": 1000}, 1000 + alone)
    check_fits(parts, TINY, shape, guided=False)
    with pytest.raises(ValueError, match=r"^16x16, 5 frames at once, takes .*: ask for fewer frames or a smaller size"):
        check_fits(parts, TINY, shape, guided=True)


def test_large_frames_are_decoded_in_the_tiles_that_fit():
    strides = ((1, 2), (2, 2), (2, 2))
    config = VAEConfig(base=2, multipliers=(1, 1, 1, 1), strides=strides, residual_blocks=0, latent_channels=4)
    weights, large = jax.eval_shape(lambda: init_vae(config, jax.random.key(0))), (3, 100, 120, 4)
    assert tile_side(config, weights, (3, 64, 64, 4), memory=0) == 0, "small frames are whole"
    sides = [tile_side(config, weights, large, memory) for memory in (0, 2e8, 1e12)]
    assert 0 == sides[2] < sides[0] < sides[1]
    assert [side % 8 for side in sides] == [0, 0, 0]
