"""Imported equals the reference implementation: random tiny Wan and UMT5 models, in float32, within 1e-4."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from sorajax.models.dit import DiT
from sorajax.models.sora import init_dit, init_text, init_vae, init_vision
from sorajax.models.text import TextEncoder
from sorajax.models.vae import VAE, denormalise, stream_decode, stream_encode
from sorajax.models.vision import Vision, VisionConfig, preprocess
from sorajax.pretrained import wan
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.table import export_parameters, stream_parameters

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
pytestmark = pytest.mark.parity
torch.set_num_threads(1)  # the models are tiny


def randomised(model):
    """Random values everywhere, also where a fresh model has zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            fan_in = p[0].numel() if p.ndim > 1 and "table" not in name else 4
            noise = torch.randn(p.shape, generator=generator) / fan_in**0.5
            p.copy_(noise + 1 if "norm" in name and ("weight" in name or "gamma" in name) else noise)
    return model.eval()


def numpy_state(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def imported(model, rows, init, config, state=None):
    shapes = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    return stream_parameters(rows, numpy_state(model) if state is None else state, shapes)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def assert_agrees(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(np.asarray(ours) - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.fixture(scope="module", params=[True, False], ids=["stacked", "leaves of their own"])
def dit(request):
    model = randomised(
        diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=20,
            in_channels=6,
            out_channels=4,
            text_dim=24,
            freq_dim=32,
            ffn_dim=56,
            num_layers=3,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=64,
        )
    )
    config = wan.dit_config(model.config, remat="none", stacked=request.param)
    return model, config, imported(model, wan.dit_table(config), init_dit, config)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 3, 8, 6), (1, 5, 2, 10)])
def test_transformer_agrees(dit, shape):
    model, config, params = dit
    x, text, time = normal(shape[0], 6, *shape[1:]), normal(shape[0], 7, 24, seed=1), np.array([0.987, 0.2])[: shape[0]]
    with torch.no_grad():
        theirs = model(torch.tensor(x), torch.tensor(1000 * time), torch.tensor(text), return_dict=False)[0]
    clock = jnp.broadcast_to(time[:, None], shape[:2])
    ours = jax.jit(DiT(config).apply)({"params": params}, channels_last(x), clock, text)
    assert_agrees(np.moveaxis(ours, -1, 1), theirs)


def test_transformer_agrees_with_a_clock_per_frame(dit):
    model, config, params = dit
    x, text, time = normal(2, 6, 3, 4, 4), normal(2, 5, 24, seed=1), np.float32([[0, 0.5, 1], [0.7, 0.1, 0.3]])
    with torch.no_grad():
        per_token = torch.tensor(1000 * time.repeat(4, 1))
        theirs = model(torch.tensor(x), per_token, torch.tensor(text), return_dict=False)[0]
    ours = jax.jit(DiT(config).apply)({"params": params}, channels_last(x), time, text)
    assert_agrees(np.moveaxis(ours, -1, 1), theirs)


def test_transformer_with_image_tokens_agrees():
    """Wan 2.1's image-to-video form: a second cross-attention, and the condition on the channels."""
    model = randomised(
        diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=20,
            in_channels=12,
            out_channels=4,
            text_dim=24,
            freq_dim=32,
            ffn_dim=56,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=64,
            image_dim=28,
            added_kv_proj_dim=40,
        )
    )
    config = wan.dit_config(model.config, remat="none")
    params = imported(model, wan.dit_table(config), init_dit, config)
    assert_round_trip(model, wan.dit_table(config), params)
    x, text, image = normal(2, 12, 3, 4, 6), normal(2, 512, 24, seed=1), normal(2, 10, 28, seed=2)
    time = np.array([0.987, 0.2])
    with torch.no_grad():
        theirs = model(
            torch.tensor(x), torch.tensor(1000 * time), torch.tensor(text), torch.tensor(image), return_dict=False
        )[0]
    clock = jnp.broadcast_to(time[:, None], (2, 3))
    ours = jax.jit(DiT(config).apply)({"params": params}, channels_last(x), clock, text, image=image)
    assert_agrees(np.moveaxis(ours, -1, 1), theirs)
    with pytest.raises(ValueError, match="image_width is 28, and image tokens were not given"):
        DiT(config).apply({"params": params}, channels_last(x), clock, text)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_image_encoder_agrees(activation):
    model = randomised(
        transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(
                hidden_size=24,
                intermediate_size=40,
                num_hidden_layers=3,
                num_attention_heads=2,
                image_size=28,
                patch_size=7,
                hidden_act=activation,
            )
        )
    )
    config = wan.vision_config(model.config.to_dict())
    state = wan.without_unused_layers(numpy_state(model), config)
    params = imported(model, wan.vision_table(config), init_vision, config, state)
    picture = np.random.default_rng(0).integers(0, 255, (40, 61, 3)).astype(np.uint8)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    pixels = processor(images=PIL.Image.fromarray(picture), return_tensors="pt").pixel_values
    np.testing.assert_allclose(preprocess(picture, 28), channels_last(pixels.numpy())[0], atol=0.02)
    with torch.no_grad():
        theirs = model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    ours = jax.jit(Vision(config).apply)({"params": params}, channels_last(pixels.numpy()))
    assert_agrees(ours, theirs)


def reference_vae(blocks, multipliers):
    model = randomised(
        diffusers.AutoencoderKLWan(
            base_dim=8,
            z_dim=4,
            dim_mult=multipliers,
            num_res_blocks=blocks,
            attn_scales=[],
            temperal_downsample=[False, True, True][-len(multipliers) + 1 :],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.0, 2.0, 0.5, 1.5],
        )
    )
    config = wan.vae_config(model.config)
    return model, config, imported(model, wan.vae_table(config), init_vae, config)


@pytest.fixture(scope="module")
def vae():
    return reference_vae(1, [1, 2, 2, 2])


@pytest.mark.parametrize(("batch", "frames"), [(2, 1), (1, 5), (2, 13)])
def test_autoencoder_agrees(vae, batch, frames):
    assert_autoencoder_agrees(*vae, np.tanh(normal(batch, 3, frames, 16, 24)))


def test_autoencoder_agrees_with_other_levels():
    assert_autoencoder_agrees(*reference_vae(2, [1, 2, 4]), np.tanh(normal(1, 3, 5, 12, 8)))


@pytest.mark.parametrize("temporal", [[False, True, True], [True, True, False]])
def test_autoencoder_with_shortcuts_agrees(temporal):
    """Wan 2.2's form: pixel patches, averaging and repeating shortcuts, a wider decoder."""
    model = randomised(
        diffusers.AutoencoderKLWan(
            base_dim=8,
            decoder_base_dim=16,
            z_dim=4,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=1,
            attn_scales=[],
            temperal_downsample=temporal,
            is_residual=True,
            patch_size=2,
            in_channels=12,
            out_channels=12,
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.0, 2.0, 0.5, 1.5],
            scale_factor_spatial=16,
            scale_factor_temporal=4,
        )
    )
    config = wan.vae_config(model.config)
    params = imported(model, wan.vae_table(config), init_vae, config)
    assert_round_trip(model, wan.vae_table(config), params)
    for batch, frames in (2, 1), (1, 9):
        assert_autoencoder_agrees(model, config, params, np.tanh(normal(batch, 3, frames, 16, 32)))


def assert_autoencoder_agrees(model, config, params, video):
    """Moments, decoding, and both of them streamed."""
    apply = jax.jit(VAE(config).apply, static_argnames="method")
    with torch.no_grad():
        posterior = model.encode(torch.tensor(video)).latent_dist
        mean, deviation = posterior.mode(), posterior.std
        decoded = model.decode(mean).sample
    ours, log_variance = apply({"params": params}, channels_last(video), method="moments")
    assert_agrees(np.moveaxis(ours, -1, 1), mean)
    assert_agrees(np.moveaxis(np.exp(log_variance / 2), -1, 1), deviation)
    latent = channels_last(mean.numpy() - np.array(config.mean).reshape(-1, 1, 1, 1))
    latent = np.float32(latent / np.array(config.std))
    assert_agrees(np.moveaxis(apply({"params": params}, latent, method="decode"), -1, 1), decoded)
    streamed = jax.jit(stream_encode, static_argnums=1)(params, config, channels_last(video))
    assert_agrees(np.moveaxis(denormalise(streamed, config), -1, 1), mean)
    assert_agrees(np.moveaxis(jax.jit(stream_decode, static_argnums=1)(params, config, latent), -1, 1), decoded)


@pytest.fixture(scope="module")
def text():
    model = randomised(
        transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=50,
                d_model=24,
                d_kv=10,
                d_ff=40,
                num_layers=3,
                num_heads=3,
                feed_forward_proj="gated-gelu",
                relative_attention_num_buckets=16,
                relative_attention_max_distance=20,
            )
        )
    )
    config = wan.text_config(model.config.to_dict())
    return model, config, imported(model, wan.text_table(config), init_text, config, wan.untied(numpy_state(model)))


@pytest.mark.parametrize("lengths", [(9, 4), (40, 33)])
def test_text_encoder_agrees_under_padding(text, lengths):
    model, config, params = text
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.random.default_rng(0).integers(1, 50, mask.shape) * mask
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state
    ours = jax.jit(TextEncoder(config).apply)({"params": params}, ids, mask)
    assert_agrees(ours, theirs * torch.tensor(mask)[..., None])


def assert_round_trip(model, rows, params):
    state = wan.untied(numpy_state(model))
    back = export_parameters(rows, params)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_export_is_the_inverse_of_import(dit, vae, text):
    for (model, config, params), table in (dit, wan.dit_table), (vae, wan.vae_table), (text, wan.text_table):
        assert_round_trip(model, table(config), params)


def test_an_unread_tensor_and_a_missing_parameter_raise(dit):
    model, config, _ = dit
    state, rows = numpy_state(model), wan.dit_table(config)
    without = {name: tensor for name, tensor in state.items() if name != "proj_out.bias"}
    with pytest.raises(ValueError, match=r"1 tensors that no parameter takes: extra"):
        imported(model, rows, init_dit, config, {**state, "extra": state["proj_out.bias"]})
    with pytest.raises(ValueError, match=r"1 tensors are missing: proj_out.bias"):
        imported(model, rows, init_dit, config, without)
    with pytest.raises(ValueError, match=r"1 parameters that no tensor fills: patch_out/bias"):
        imported(model, [row for row in rows if row.ours != "patch_out/bias"], init_dit, config, without)
    with pytest.raises(ValueError, match="the config says"):
        imported(model, rows, init_dit, config, {**state, "proj_out.bias": np.zeros(3, np.float32)})


def test_sharded_files_are_read_lazily_and_completely(dit, tmp_path):
    model, config, params = dit
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = imported(model, wan.dit_table(config), init_dit, config, Tensors(tmp_path))
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))


class Counting(dict):
    """Tensors that count how often one is read."""

    reads = 0

    def __getitem__(self, name):
        self.reads += 1
        return super().__getitem__(name)


def test_renaming_reads_no_tensor():
    """What a text encoder of 23 GB needs: the host holds one tensor at a time."""
    tensors = Counting({name: np.zeros((2, 2)) for name in ("encoder.embed_tokens.weight", "encoder.block.0.weight")})
    text = wan.untied(tensors)
    vision = wan.without_unused_layers(tensors, VisionConfig(depth=2))
    assert set(text) == {"shared.weight", "encoder.block.0.weight"}
    assert len(vision) == 2
    assert tensors.reads == 0
    assert text["shared.weight"].shape == (2, 2)
    assert tensors.reads == 1
