"""Open weights generate the frames that the reference generates, in memory that is limited."""

import jax
import numpy as np
import PIL.Image
import pytest

import sorajax
from sorajax import tasks
from sorajax.devices.residency import WEIGHTS_SHARE
from sorajax.diffusion.samplers import SOLVERS
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.pretrained.wan_folder import open_model
from sorajax.sampling import memory
from sorajax.sampling.request import Request

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from tests.pretrained import reference  # noqa: E402

torch.set_num_threads(1)  # the models are tiny
PROMPT, NEGATIVE = "a red  ball &amp; bounces", "slowly"
FRAMES, HEIGHT, WIDTH, STEPS = 9, 32, 48, 4


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))


@pytest.mark.parametrize("name", reference.MODELS)
def test_the_whole_pipeline_equals_the_references_from_the_same_noise(name, tmp_path):
    theirs = reference.MODELS[name]()
    theirs.set_progress_bar_config(disable=True)
    folder = tmp_path / name.split(",")[0]
    theirs.save_pretrained(folder, max_shard_size="60KB")
    pipeline = sorajax.load(folder)
    height, width = (HEIGHT, WIDTH) if "TI2V" not in name else (64, 96)
    given = reference.picture(height, width) if "Image" in type(theirs).__name__ else None
    low = 2.0 if pipeline.config.boundary else None
    request = Request(
        (PROMPT,),
        NEGATIVE,
        seed=5,
        frames=FRAMES,
        height=height,
        width=width,
        steps=STEPS,
        guidance_scale=3.0,
        guidance_scale_low=low,
    )
    if given is None:
        ours = next(pipeline.stream(request, pipeline.plan(request))).frames
    elif "last" in name:
        ends = ConditioningFrames(head=given[None], tail=given[None, ::-1], exact=False)
        ours = next(pipeline.stream(request, pipeline.plan(request), conditioning=ends)).frames
        made = next(tasks.between(pipeline, request, Video(ends.head, 16.0), Video(ends.tail, 16.0))).frames
        assert np.array_equal(made[[0, -1]], [given, given[::-1]])
        assert len(made) == FRAMES
    else:
        ours = next(tasks.animate(pipeline, request, Video(given[None], 16.0))).whole().frames
    t, h, w, c = pipeline.plan(request).latent
    noise = np.asarray(jax.random.normal(jax.random.key(5), (t, h, w, c)))
    more = {} if given is None else {"image": PIL.Image.fromarray(given)}
    more |= {} if low is None else {"guidance_scale_2": low}
    if "last" in name:
        more["last_image"] = PIL.Image.fromarray(given[::-1])
    with torch.no_grad():
        expected = theirs(
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            height=height,
            width=width,
            num_frames=FRAMES,
            num_inference_steps=STEPS,
            guidance_scale=3.0,
            latents=torch.tensor(np.moveaxis(noise, -1, 0)[None]),
            output_type="np",
            **more,
        ).frames[0]
    assert expected.std() > 0.02
    assert psnr(ours, np.round(expected * 255)) > 50


def test_a_model_without_a_time_per_frame_generates_loops(saved):
    request = Request((PROMPT,), frames=12, height=HEIGHT, width=WIDTH, steps=2)
    (loop,) = tasks.loop(sorajax.load(saved), request)
    assert loop.frames.shape == (12, HEIGHT, WIDTH, 3)
    assert loop.frames.std() > 1


def test_bfloat16_error_is_at_most_the_references(saved):
    """The transformer in bfloat16, each against its own float32."""
    from sorajax.models.dit import DiT

    rng = np.random.default_rng(0)
    x, text = rng.standard_normal((1, 16, 3, 8, 8), np.float32), rng.standard_normal((1, 9, 24), np.float32)
    theirs = reference.transformer()
    exact = theirs(torch.tensor(x), torch.tensor([700.0]), torch.tensor(text), return_dict=False)[0].detach().numpy()
    low = theirs.to(torch.bfloat16)
    rough = low(*(torch.tensor(a).to(torch.bfloat16) for a in (x, np.float32([700.0]), text)), return_dict=False)[0]
    theirs_off = np.abs(rough.detach().float().numpy() - exact).mean()
    opened = open_model(saved, "bfloat16")
    params = opened.parts["dit"].load("bfloat16")
    ours = DiT(opened.config.dit).apply(
        {"params": params}, np.moveaxis(x, 1, -1), np.full((1, 3), 0.7, np.float32), text
    )
    assert np.abs(np.moveaxis(ours, -1, 1) - exact).mean() <= theirs_off


def test_only_one_expert_is_in_memory_where_both_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "activation_bytes", lambda *_: 0)  # more than the weights of a model this small
    reference.silent(reference.MODELS["Wan2.2-T2V-A14B"]).save_pretrained(tmp_path)
    pipeline = sorajax.load(tmp_path)
    settings = {"frames": 5, "height": HEIGHT, "width": WIDTH, "steps": STEPS}
    together = [pipeline(PROMPT, **settings, sampler=sampler)[0].frames for sampler in SOLVERS]
    assert {"dit", "dit_low"} < set(pipeline.params.loaded)
    sizes = pipeline.params.sizes
    assert sizes["dit"] == sizes["dit_low"]
    pipeline.params.memory = int(1.5 * sizes["dit"] / WEIGHTS_SHARE)
    there, load = [], pipeline.params.loaders["dit_low"]
    pipeline.params.loaders["dit_low"] = lambda: there.append(set(pipeline.params.loaded)) or load()
    pipeline.params.loaded.clear()
    alone = [pipeline(PROMPT, **settings, sampler=sampler)[0].frames for sampler in SOLVERS]
    assert len(there) == len(SOLVERS)
    assert not any("dit" in parts for parts in there)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("bits", ["int8", "fp8"])
def test_weights_are_quantized_while_they_are_loaded(bits, tmp_path):
    reference.text_to_video().save_pretrained(tmp_path)
    whole, small = sorajax.load(tmp_path), sorajax.load(tmp_path, quantize=bits)
    assert small.params["dit"]["blocks"]["feed_forward"]["up"]["kernel"].qvalue.dtype.itemsize == 1
    assert small.params.sizes["dit"] < 0.6 * whole.params.sizes["dit"]
    whole.params.memory = whole.params.sizes["dit"] + 1_000
    with pytest.raises(BadRequest, match=r"48x32, 9 frames at once, takes .* ask for fewer frames or a smaller size"):
        whole.plan(Request((PROMPT,), frames=9, height=HEIGHT, width=WIDTH))
    size = whole.params.sizes["dit"]
    whole.params.memory = size + 5_000
    assert [whole.params.batch_that_fits(8, "dit", values) for values in (600, 1_000, 5_000, 9_000)] == [8, 4, 1, 1]
    whole.params.memory = None
    settings = {"frames": 5, "height": HEIGHT, "width": WIDTH, "steps": 2}
    (one,), (other,) = whole(PROMPT, **settings), small(PROMPT, **settings)
    assert 25 < psnr(one.frames, other.frames) < 90
