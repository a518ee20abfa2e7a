"""Sampling on a mesh: each of eight devices does an eighth of the work, and the clip is that of one device."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.devices.partitioned import work_of
from sorajax.devices.placement import ONE_DEVICE, Placement
from sorajax.devices.residency import Parts
from sorajax.devices.sharding import make_mesh
from sorajax.errors import BadRequest
from sorajax.models.conditioning import ConditioningFrames, MaskChannels, Replacement
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig, init_vision
from sorajax.models.stream import decode_singly, next_pixels
from sorajax.models.text import Tokenizer
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.sampling.memory import sampling_programs
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request
from tests.cases import slow_after
from tests.conftest import TINY, tiny_tokenizer
from tests.weights import init

MOST_FLOPS, LARGEST_ACTIVATION = 1.15 / 8, 1.3 / 8
"""Of one device's."""
CLOCKS = SoraConfig(
    text=replace(TINY.text, tokens=16, hidden=64),
    dit=DiTConfig(
        width=32, hidden=64, depth=2, heads=4, in_channels=4, out_channels=4, text_width=8, frequencies=8, remat="none"
    ),
    vae=VAEConfig(base=4, multipliers=(1, 1), strides=((2, 2),), residual_blocks=0, latent_channels=4),
    sizes=((32, 64),),
    frames=(5, 1),
    steps=2,
)
VISION = VisionConfig(width=32, hidden=64, depth=2, heads=8, patch=14, size=56)
MODELS = {
    "clocks": CLOCKS,
    "replaced": replace(CLOCKS, conditioning=Replacement()),
    "channels": replace(
        CLOCKS,
        dit=replace(CLOCKS.dit, in_channels=10, image_width=VISION.width),
        vision=VISION,
        conditioning=MaskChannels(),
    ),
    "experts": replace(CLOCKS, boundary=0.875, conditioning=Replacement()),
}
PICTURE = np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3), np.uint8)


@cache
def pipeline(kind: str, placement: Placement) -> Pipeline:
    """Of random weights, the same for every placement."""
    config = MODELS[kind]
    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))
    rng = np.random.default_rng(0)
    if config.boundary is not None:
        shapes["dit_low"] = shapes["dit"]
    if config.vision is not None:
        shapes["vision"] = jax.eval_shape(partial(init_vision, config.vision), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0.02, 0.2, leaf.shape).astype(np.float32), shapes)
    parts = Parts({name: partial(placement.place, params[name]) for name in params}, {}, None, placement)
    return Pipeline(config, parts, Tokenizer(tiny_tokenizer(), config.text.tokens), "spread")


def sampled(model: Pipeline, clips: int, head: np.ndarray | None, guidance: float) -> np.ndarray:
    """Latents of clips of different prompts and seeds."""
    settings = model.plan(Request(("a red ball",), guidance_scale=guidance))
    conditioning = None if head is None else ConditioningFrames(head=head)
    known, extra = model.denoiser.inputs(conditioning, (clips, *settings.latent))
    prompts = [("a red ball", "a blue box falls")[seed % 2] for seed in range(clips)]
    numbered = [(prompt, seed) for seed, prompt in enumerate(prompts)]
    return np.asarray(model.denoiser.sample(numbered, settings, settings.times(), known, extra))


def check_work(one: Pipeline, eight: Pipeline) -> set[str]:
    """That each of eight devices does an eighth in all programs that both have run. Returns their names."""
    programs, split_programs = (model.denoiser.programs.compiled for model in (one, eight))
    both = programs.keys() & split_programs.keys()
    for name in both:
        alone, each = work_of(programs[name]), work_of(split_programs[name])
        assert each.flops <= MOST_FLOPS * alone.flops, name
        if name != "vision":  # the image, an input, is larger than what is computed from it
            assert each.largest <= LARGEST_ACTIVATION * alone.largest, name
    return {name if isinstance(name, str) else name[0] for name in both}


FURTHER = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "clips", "head", "guidance", "axes"),
    [
        ("clocks", 1, PICTURE, 4.0, "data=2,seq=4"),
        pytest.param("clocks", 4, None, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("channels", 1, PICTURE, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("replaced", 4, PICTURE, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("experts", 1, None, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("clocks", 1, None, 4.0, "data=2,seq=2,tensor=2", marks=FURTHER),
        pytest.param("clocks", 1, None, 1.0, "seq=8", marks=FURTHER),
        pytest.param("clocks", 1, None, 1.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("channels", 1, PICTURE, 1.0, "data=2,seq=2,tensor=2", marks=FURTHER),
        pytest.param("clocks", 4, PICTURE, 4.0, "data=8", marks=FURTHER),
        pytest.param("replaced", 1, None, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("channels", 4, PICTURE, 4.0, "data=2,seq=4", marks=FURTHER),
        pytest.param("experts", 4, PICTURE, 4.0, "data=2,seq=4", marks=FURTHER),
    ],
)
def test_each_of_eight_devices_computes_an_eighth(kind, clips, head, guidance, axes):
    one, eight = (pipeline(kind, placement) for placement in (ONE_DEVICE, Placement(make_mesh(axes))))
    latents, split_latents = (sampled(model, clips, head, guidance) for model in (one, eight))
    assert np.abs(split_latents - latents).max() < 1e-4
    assert latents.std() > 0.1
    assert {"text", "transformer"} | ({"encoder"} if head is not None else set()) <= check_work(one, eight)


@pytest.mark.parametrize("clips", slow_after(1, [4, 1]))
def test_each_of_eight_devices_decodes_an_eighth(clips):
    one, eight = (pipeline("clocks", placement) for placement in (ONE_DEVICE, Placement(make_mesh("data=2,seq=4"))))
    latents = np.random.default_rng(0).normal(size=(clips, 3, 16, 32, 4)).astype(np.float32)
    frames, split_frames = (model.codec.decode(latents, 32, 64) for model in (one, eight))
    assert np.abs(split_frames.astype(int) - frames).max() <= 1  # rounded at the half
    assert frames.std() > 10
    assert "decoder" in check_work(one, eight)
    pixels, split_pixels = (decoded(model, latents) for model in (one, eight))
    assert np.abs(split_pixels - pixels).max() < 1e-4


@FURTHER
def test_each_of_eight_devices_decodes_an_eighth_of_a_tile(monkeypatch):
    """Of the features of whole frames, and of tiles; together these equal the frames that one device decodes whole."""
    for module in ("codec", "memory"):
        monkeypatch.setattr(f"sorajax.sampling.{module}.UNTILED_PIXELS", 0)
    one, eight = (pipeline.__wrapped__("clocks", place) for place in (ONE_DEVICE, Placement(make_mesh("data=2,seq=4"))))
    latents = np.random.default_rng(0).normal(size=(1, 3, 40, 72, 4)).astype(np.float32)
    whole = decode_singly(one.params["vae"], CLOCKS.vae, latents, {})[0]
    monkeypatch.setattr("sorajax.sampling.codec.memory_of_devices", lambda: 8)
    assert one.codec.tile_side(latents.shape) == 40
    for model in (one, eight):
        assert np.abs(model.codec.decode(latents, 80, 144).astype(int) - whole).max() <= 1  # rounded at the half
    assert check_work(one, eight) == {"decoder, features", "decoder, a tile"}


def decoded(model: Pipeline, latents: np.ndarray) -> np.ndarray:
    """The decoder's float32 pixels, before they become uint8."""
    placement, part = model.params.placement, model.codec.programs.part("pixels", next_pixels)
    return np.asarray(part(model.params["vae"], CLOCKS.vae, placement.replicate(latents), {})[0])


def test_a_mesh_that_does_not_fit_is_one_line(tiny_model):
    with pytest.raises(
        ValueError, match=r"^mesh data=3 does not fill 8 devices: .* must be that, e\.g\. data=2,seq=4$"
    ):
        sorajax.load(tiny_model, mesh="data=3")
    with pytest.raises(ValueError, match="mesh part 'fast' is not axis=size"):
        sorajax.load(tiny_model, mesh="fast")
    with pytest.raises(BadRequest, match="mesh seq=8 does not divide 12 tokens: use seq=1, 2, 4"):
        sorajax.load(tiny_model, mesh="seq=8").plan(Request(("a",), width=20, height=16, frames=5))
    with pytest.raises(BadRequest, match="mesh tensor=8 does not divide 2 heads: use tensor=1, 2"):
        sorajax.load(tiny_model, mesh="tensor=8").plan(Request(("a",)))


def test_a_model_is_loaded_onto_all_devices(tiny_model, monkeypatch):
    monkeypatch.setattr("sorajax.devices.placement.sampling_devices", jax.devices)
    model = sorajax.load(tiny_model)
    assert model.params.placement.mesh.size == 8
    assert len(model.params["dit"]["patch_in"]["kernel"].sharding.device_set) == 8


@pytest.mark.parametrize(
    ("kind", "axes"), slow_after(2, [("channels", "data=2,seq=4"), ("clocks", ""), ("experts", "seq=8")])
)
def test_a_plan_lowers_what_the_pipeline_compiles(kind, axes, monkeypatch):
    placement = Placement(make_mesh(axes)) if axes else ONE_DEVICE
    model, config = pipeline.__wrapped__(kind, placement), MODELS[kind]
    lowered = texts_of_programs(monkeypatch)
    settings = model.plan(Request(("a red ball",)))
    latents = sampled(model, 1, PICTURE if kind == "channels" else None, 4.0)
    model.codec.decode(latents, 32, 64)
    weights = {name: jax.eval_shape(lambda part: part, part) for name, part in model.params.items()}
    devices = 8 if axes else 1
    stages = sampling_programs(config, weights, settings.latent, settings.steps, 2**30, devices, times=settings.times())
    names = ["text", "vision", "encoder", "transformer", "transformer, low noise", "decoder"]
    absent = {"clocks": {1, 2, 4}, "experts": {1, 2}, "channels": {4}}[kind]
    assert [stage.name for stage in stages] == [name for number, name in enumerate(names) if number not in absent]
    for stage in stages:
        assert stage.lower(placement).as_text() in lowered, stage.name


def texts_of_programs(monkeypatch) -> list[str]:
    """The lowered text of each program of the pipeline from now on; they are not compiled, and return zeros."""
    lowered = []

    def recorded(function, arguments, options, mesh, trace, compiled):
        _, program = trace()
        lowered.append(program.as_text())
        return lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), program.out_info)

    monkeypatch.setattr("sorajax.sampling.program.executable", recorded)
    return lowered


@pytest.mark.parametrize(
    ("untiled", "memory", "name", "axes"),
    slow_after(
        2,
        [
            (2**18, 2**40, "decoder", "data=2,seq=4"),
            (0, 1, "decoder, a tile", ""),
            (0, 2**40, "decoder", "data=2,seq=4"),
            (0, 1, "decoder, a tile", "data=2,seq=4"),
            (2**18, 2**40, "decoder", ""),
        ],
    ),
)
def test_a_plan_lowers_the_decoder_of_a_stream(untiled, memory, name, axes, monkeypatch):
    """In chunks of small frames, frame by frame of large ones, and in tiles where memory is small."""
    placement, devices = Placement(make_mesh(axes)) if axes else ONE_DEVICE, 8 if axes else 1
    for module in ("codec", "memory"):
        monkeypatch.setattr(f"sorajax.sampling.{module}.UNTILED_PIXELS", untiled)
        monkeypatch.setattr(f"sorajax.sampling.{module}.MAX_WHOLE_PIXELS", 0)
    monkeypatch.setattr("sorajax.sampling.codec.memory_of_devices", lambda: memory * jax.local_device_count())
    lowered = texts_of_programs(monkeypatch)
    model = pipeline.__wrapped__("clocks", placement)
    latents = np.zeros((1, 6, 16, 32, 4), np.float32)
    model.codec.decode(latents, 32, 64)
    weights = {part: jax.eval_shape(lambda x: x, value) for part, value in model.params.items()}
    stages = sampling_programs(CLOCKS, weights, latents.shape[1:], 2, memory, devices)[2:]
    assert [stage.name for stage in stages] == (["decoder, features"] if "tile" in name else []) + [name]
    for stage in stages:
        assert stage.calls == (3 if untiled else 6)
        assert stage.lower(placement).as_text() in lowered
