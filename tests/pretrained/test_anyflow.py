"""AnyFlow-Wan 2.1, a flow map with a second time embedding, against diffusers' own class and pipeline."""

import json
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands import convert
from sorajax.models.dit import DiT
from sorajax.models.sora import init_dit
from sorajax.pretrained import wan
from sorajax.pretrained.open import open_parts
from sorajax.pretrained.table import export_parameters, stream_parameters
from sorajax.pretrained.wan_folder import open_model
from sorajax.sampling.request import Request

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
if not hasattr(diffusers, "AnyFlowTransformer3DModel"):
    pytest.skip("this diffusers has no AnyFlow", allow_module_level=True)
pytestmark = pytest.mark.parity

from tests.pretrained import reference  # noqa: E402

torch.set_num_threads(1)  # the models are tiny
PROMPT, FRAMES, HEIGHT, WIDTH = "a red  ball &amp; bounces", 9, 32, 48


def transformer(kind="r", gate=0.25):
    return reference.randomised(
        diffusers.AnyFlowTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=20,
            text_dim=24,
            freq_dim=32,
            ffn_dim=56,
            num_layers=2,
            rope_max_seq_len=64,
            gate_value=gate,
            deltatime_type=kind,
        )
    )


def imported(model, **changes):
    """Config and parameters of the reference's transformer."""
    config = wan.dit_config(model.config, remat="none", **changes)
    shapes = jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0))
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return config, stream_parameters(wan.dit_table(config), state, shapes)


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "leaves of their own"])
@pytest.mark.parametrize("kind", ["r", "t-r"])
def test_the_transformer_agrees(kind, stacked):
    model = transformer(kind)
    config, params = imported(model, stacked=stacked)
    assert (config.until_gate, config.until_interval, config.is_flow_map) == (0.25, kind == "t-r", True)
    rng = np.random.default_rng(0)
    x, text = rng.standard_normal((2, 3, 16, 4, 6), np.float32), rng.standard_normal((2, 7, 24), np.float32)
    time, until = np.float32([[0.987] * 3, [0, 0.5, 0.8]]), np.float32([[0.4] * 3, [0, 0.2, 0.8]])
    for end in (until, None):
        with torch.no_grad():
            theirs = model(
                hidden_states=torch.tensor(x),
                timestep=torch.tensor(1000 * time),
                r_timestep=torch.tensor(1000 * (time if end is None else end)),
                encoder_hidden_states=torch.tensor(text),
                return_dict=False,
            )[0].numpy()
        ours = jax.jit(DiT(config).apply)({"params": params}, np.moveaxis(x, 2, -1), time, text, until=end)
        assert np.abs(np.moveaxis(ours, -1, 2) - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_the_table_comes_back_and_is_strict():
    model = transformer()
    config, params = imported(model)
    back = export_parameters(wan.dit_table(config), params)
    assert back.keys() == model.state_dict().keys()
    assert all(np.array_equal(back[name], tensor.numpy()) for name, tensor in model.state_dict().items())
    plain = wan.dit_config({name: value for name, value in model.config.items() if name != "gate_value"})
    assert not plain.is_flow_map
    shapes = jax.eval_shape(lambda key: init_dit(plain, key), jax.random.key(0))
    with pytest.raises(ValueError, match=r"4 tensors that no parameter takes: condition_embedder.delta_embedder"):
        stream_parameters(wan.dit_table(plain), back, shapes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The reference's pipeline, and the folder that it wrote."""
    pipeline = diffusers.AnyFlowPipeline(
        tokenizer=reference.tokenizer(),
        text_encoder=reference.text_encoder(),
        transformer=transformer(),
        vae=reference.autoencoder(),
        scheduler=diffusers.FlowMapEulerDiscreteScheduler(shift=5.0),
    )
    pipeline.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("models") / "AnyFlow-Wan2.1-T2V-1.3B-Diffusers"
    pipeline.save_pretrained(folder, max_shard_size="60KB")
    return pipeline, folder


def test_the_whole_pipeline_agrees_from_the_same_noise(saved):
    theirs, folder = saved
    pipeline = sorajax.load(folder)
    config = pipeline.config
    assert (config.steps, config.sampler, config.shift, config.guidance_scale) == (4, "flow_map", 5.0, 1.0)
    request = Request((PROMPT,), seed=5, frames=FRAMES, height=HEIGHT, width=WIDTH)
    settings = pipeline.plan(request)
    theirs.scheduler.set_timesteps(4)
    np.testing.assert_allclose(settings.times(), theirs.scheduler.sigmas, atol=1e-6)
    ours = next(pipeline.stream(request, settings)).frames
    noise = np.asarray(jax.random.normal(jax.random.key(5), settings.latent))
    with torch.no_grad():
        expected = theirs(
            prompt=PROMPT,
            height=HEIGHT,
            width=WIDTH,
            num_frames=FRAMES,
            num_inference_steps=4,
            latents=torch.tensor(np.moveaxis(noise, -1, 0)[None]),
            output_type="np",
        ).frames[0]
    assert expected.std() > 0.02
    error = np.mean(np.square(ours.astype(np.float64) - np.round(expected * 255)))
    assert error < 255**2 / 10**5  # 50 dB


def test_converted_weights_come_back_as_a_folder_that_the_reference_opens(saved, tmp_path):
    theirs, folder = saved
    assert convert.main([str(folder), "--out", str(tmp_path / "ours"), "--dtype", "float32"]) == 0
    assert open_parts(tmp_path / "ours", None)[0].dit == open_model(folder).config.dit
    assert convert.main([str(tmp_path / "ours"), "--to", "diffusers", "--out", str(tmp_path / "back")]) == 0
    back = diffusers.AnyFlowPipeline.from_pretrained(tmp_path / "back")
    state, before = back.transformer.state_dict(), theirs.transformer.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert (back.scheduler.config.shift, back.transformer.config.gate_value) == (5.0, 0.25)


def test_the_layout_of_the_release_opens_and_the_causal_model_is_refused(saved, tmp_path):
    """The configs of NVIDIA's repositories name classes of their own code."""
    _, folder = saved
    released = shutil.copytree(folder, tmp_path / "released")
    index = json.loads((released / "model_index.json").read_text())
    index |= {"_class_name": "WanAnyFlowPipeline", "transformer": ["far.models", "FAR_Wan_Transformer3DModel"]}
    (released / "model_index.json").write_text(json.dumps(index))
    file = released / "transformer" / "config.json"
    fields = json.loads(file.read_text())
    more = {"init_far_model": False, "chunk_partition": None, "full_chunk_limit": 3, "compressed_patch_size": [1, 4, 4]}
    more |= {"init_flowmap_model": True, "qk_norm": "rms_norm_across_heads", "added_kv_proj_dim": None}
    file.write_text(json.dumps(fields | more | {"_class_name": "FAR_Wan_Transformer3DModel"}))
    assert open_model(released).config.dit == open_model(folder).config.dit
    file.write_text(json.dumps(fields | more | {"init_far_model": True}))
    with pytest.raises(ValueError, match="init_far_model=True, and only False can be imported"):
        open_model(released)
    file.write_text(json.dumps(fields | {"deltatime_type": "r/t"}))
    with pytest.raises(ValueError, match="deltatime_type='r/t', and only 'r' and 't-r' can be imported"):
        open_model(released)
    file.write_text(json.dumps(fields | {"gate_value": 2.5}))
    with pytest.raises(ValueError, match=r"until_gate 2.5 is not allowed: use 0 to 1"):
        open_model(released)
