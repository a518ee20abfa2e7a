"""Compares ours with the reference implementations: diffusers' Wan transformer and autoencoders, transformers' UMT5.

The references run in PyTorch's eager mode and with torch.compile, ours with XLA; weights and inputs are the same, and
calls alternate. Needs the extra `parity`; its libraries are imported where they are used.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sorajax.devices.compilation import gradient_compiler_options
from sorajax.evaluation.speed import alternating, normal, random_parameters
from sorajax.models.dit import TIME_UNITS, DiTConfig
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.vae import VAE, VAEConfig, denormalise
from sorajax.models.velocity import velocity_of
from sorajax.pretrained.table import Row, export_parameters
from sorajax.pretrained.wan import dit_table, text_table, vae_table

LIBRARIES = ("torch", "diffusers", "transformers")
WAYS = ("ours", "eager", "compiled")
AGREEMENT = 1e-3
"""Largest allowed difference of two float32 implementations, relative to the largest value."""


class Call(NamedTuple):
    """One computation in three ways, without arguments. `eager` and `compiled` return tensors by name, in the
    reference's layout."""

    ours: Callable[[], Any]
    eager: Callable[[], Any]
    compiled: Callable[[], Any]
    read: Callable[[Any], Mapping[str, np.ndarray]]
    """Converts the result of `ours` to the reference's names and layout."""


def compare(name: str, call: Call, repeats: int, eager: bool = False) -> dict[str, Any]:
    """Median seconds of a call in three ways, and `ratio`: the faster reference's seconds over ours.

    eager: leave out torch.compile, which takes minutes. If torch.compile fails, `compiled` is None, `failure` is the
    reason, and the ratio is to eager. Raises RuntimeError, before anything is timed, if the results differ by more than
    `AGREEMENT`.
    """
    apart = difference(call.read(call.ours()), {key: value.numpy() for key, value in call.eager().items()})
    if not apart < AGREEMENT:
        raise RuntimeError(f"{name}: ours and theirs differ by {apart:.1e}, more than {AGREEMENT:g}: nothing is timed")
    ways, failure = {"ours": call.ours, "eager": call.eager, "compiled": call.compiled}, None
    try:
        if not eager:
            call.compiled()
    except Exception as error:  # torch.compile needs a C++ compiler, and raises what it likes
        failure = f"torch.compile failed: {type(error).__name__}"
    if eager or failure:
        del ways["compiled"]
    seconds = alternating(ways, repeats)
    faster = min(value for way, value in seconds.items() if way != "ours")
    ratio = faster / seconds["ours"]
    return {**dict.fromkeys(WAYS), **seconds, "ratio": ratio, "difference": apart, "failure": failure}


def difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Largest difference of values of the same name, relative to the reference's largest value."""
    largest = max(float(np.abs(value).max()) for value in theirs.values())
    return max(float(np.abs(ours[name] - value).max()) for name, value in theirs.items()) / largest


def conditions() -> dict[str, Any]:
    """Versions of the libraries, and PyTorch's number of threads."""
    import torch

    return {"versions": {name: version(name) for name in LIBRARIES}, "threads": torch.get_num_threads()}


def transformer(config: DiTConfig, clips: int, latent: Sequence[int], tokens: int) -> dict[str, Call]:
    """Forward, and forward with backward. latent: (t, h, w) of one clip. tokens: its text tokens."""
    import torch

    params = random_parameters(partial(init_dit, config))
    model = reference_transformer(config, params)
    x, target = normal(clips, *latent, config.in_channels), normal(clips, *latent, config.out_channels, seed=1)
    context, level = normal(clips, tokens, config.text_width, seed=2), 0.7
    their_x, their_target = channels_first(x), channels_first(target)
    their_context, their_time = torch.tensor(context), torch.full((clips,), TIME_UNITS * level)

    def apply(params: Any, x: Array, context: Array) -> Any:
        return velocity_of(config, {"params": params}, context)(x, jnp.full(x.shape[:2], level))

    def loss(params: Any, x: Array, context: Array, target: Array) -> Any:
        return jnp.mean(jnp.square(apply(params, x, context) - target))

    def their_forward(model: Any) -> Any:
        with torch.no_grad():
            return {"velocity": model(their_x, their_time, their_context, return_dict=False)[0]}

    def their_backward(run: Any) -> Any:
        model.zero_grad(set_to_none=True)
        velocity = run(their_x, their_time, their_context, return_dict=False)[0]
        torch.mean(torch.square(velocity - their_target)).backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    fast, rows = torch.compile(model), dit_table(config)
    forward = compile_call(apply, params, x, context)
    backward = compile_call(jax.grad(loss), params, x, context, target, options=gradient_compiler_options())
    return {
        "forward": Call(
            forward,
            partial(their_forward, model),
            partial(their_forward, fast),
            lambda made: {"velocity": np.moveaxis(made, -1, 1)},
        ),
        "forward_backward": Call(
            backward, partial(their_backward, model), partial(their_backward, fast), partial(export_parameters, rows)
        ),
    }


def autoencoder(config: VAEConfig, size: tuple[int, int, int]) -> dict[str, Call]:
    """Encoding and decoding one clip of (frames, height, width), to latents that are not normalised and pixels that are
    not clipped."""
    import torch

    params = random_parameters(partial(init_vae, config))
    model = reference_autoencoder(config, params)
    video, latent = np.tanh(normal(1, *size, 3)), normal(1, *config.latent_shape(*size), seed=1)
    their_video, raw = channels_first(video), np.asarray(denormalise(jnp.asarray(latent), config))
    their_latent = channels_first(raw)

    def encode(params: Any, video: Array) -> Any:
        return VAE(config).apply({"params": params}, video, method="moments")[0]

    def decode(params: Any, latent: Array) -> Any:
        return VAE(config).apply({"params": params}, latent, method="decode")

    def their_encode() -> Any:
        with torch.no_grad():
            return {"": model.encode(their_video, return_dict=False)[0].mode()}

    def their_decode() -> Any:
        with torch.no_grad():
            return {"": model.decode(their_latent, return_dict=False)[0]}

    def read(made: Array) -> dict[str, np.ndarray]:
        return {"": np.moveaxis(np.asarray(made), -1, 1)}

    return {
        "encode": Call(compile_call(encode, params, video), their_encode, torch.compile(their_encode), read),
        "decode": Call(compile_call(decode, params, latent), their_decode, torch.compile(their_decode), read),
    }


def text_encoder(config: TextConfig, prompts: int) -> dict[str, Call]:
    """Encoding prompts, padded to the config's length; only the embeddings of the prompts' own tokens are compared."""
    import torch

    params = random_parameters(partial(init_text, config))
    params["blocks"]["q"]["kernel"] /= np.float32(config.head_width**0.5)  # scores are not scaled
    model = reference_text_encoder(config, params)
    lengths = np.linspace(config.tokens // 2, config.tokens, prompts, dtype=int)
    mask = np.arange(config.tokens) < lengths[:, None]
    ids = np.random.default_rng(0).integers(1, config.vocabulary, mask.shape, np.int32) * mask
    their_ids, their_mask = torch.tensor(ids), torch.tensor(mask)

    def apply(params: Any, ids: Array, mask: Array) -> Any:
        return TextEncoder(config).apply({"params": params}, ids, mask)

    def their_apply(model: Any) -> Any:
        with torch.no_grad():
            made = model(input_ids=their_ids, attention_mask=their_mask).last_hidden_state
            return {"": made * their_mask[..., None]}

    forward, fast = compile_call(apply, params, ids, mask), torch.compile(model)
    return {
        "forward": Call(
            forward, partial(their_apply, model), partial(their_apply, fast), lambda made: {"": np.asarray(made)}
        )
    }


def compile_call(
    function: Callable[..., Any], *arguments: Any, options: dict[str, str] | None = None
) -> Callable[[], Any]:
    """Our function, compiled for these arguments, which are placed on the device."""
    arguments = jax.device_put(arguments)
    program = jax.jit(function, compiler_options=options).lower(*arguments).compile()
    return lambda: jax.block_until_ready(program(*arguments))


def channels_first(x: np.ndarray) -> Any:
    import torch

    return torch.tensor(np.moveaxis(x, -1, 1))


def reference_transformer(config: DiTConfig, params: Any) -> Any:
    """diffusers' WanTransformer3DModel of this config, with our weights, in float32."""
    return with_weights(empty_transformer(config), dit_table(config), params)


def empty_transformer(config: DiTConfig) -> Any:
    """diffusers' WanTransformer3DModel of this config, with its own random weights."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        freq_dim=config.frequencies,
        ffn_dim=config.hidden,
        num_layers=config.depth,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=config.epsilon,
    )


def reference_autoencoder(config: VAEConfig, params: Any) -> Any:
    """diffusers' AutoencoderKLWan of this config, 2.1's form or 2.2's, with our weights, in float32."""
    from diffusers import AutoencoderKLWan

    pixels, channels = 3 * config.pixel_patch**2, config.latent_channels
    model = AutoencoderKLWan(
        base_dim=config.base,
        decoder_base_dim=config.decoder_base or None,
        z_dim=channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.residual_blocks,
        temperal_downsample=[time == 2 for time, _ in config.strides],
        latents_mean=list(config.mean or channels * [0.0]),
        latents_std=list(config.std or channels * [1.0]),
        is_residual=config.shortcuts,
        in_channels=pixels,
        out_channels=pixels,
        patch_size=config.pixel_patch if config.pixel_patch > 1 else None,
    )
    return with_weights(model, vae_table(config), params)


def reference_text_encoder(config: TextConfig, params: Any) -> Any:
    """transformers' UMT5EncoderModel of this config, with our weights, in float32."""
    from transformers import UMT5Config, UMT5EncoderModel

    theirs = UMT5Config(
        vocab_size=config.vocabulary,
        d_model=config.width,
        d_kv=config.head_width,
        d_ff=config.hidden,
        num_layers=config.depth,
        num_heads=config.heads,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.max_distance,
        layer_norm_epsilon=config.epsilon,
    )
    return with_weights(UMT5EncoderModel(theirs), text_table(config), params)


def with_weights(model: Any, rows: Sequence[Row], params: Any) -> Any:
    """The reference's model with all of our weights; second names of a shared tensor are ignored. Raises RuntimeError
    if names differ."""
    import torch

    state = {name: torch.from_numpy(value) for name, value in export_parameters(rows, params).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    twice = dict(model.named_parameters(remove_duplicate=False)).keys() - dict(model.named_parameters()).keys()
    if absent := unexpected + sorted(set(missing) - twice):
        raise RuntimeError(f"ours and the reference's do not have the same weights: {', '.join(absent)}")
    return model.eval()


def dit(depth: int = 4) -> tuple[str, dict[str, Call]]:
    """Blocks are not stacked, as in training on CPU."""
    config = DiTConfig(width=384, hidden=1536, depth=depth, heads=6, stacked=False, remat="none")
    return f"Wan's transformer, width 384 of 1536, {depth} of 30 blocks, latents 7x16x16, 64 text tokens", transformer(
        config, clips=1, latent=(7, 16, 16), tokens=64
    )


def vae() -> tuple[str, dict[str, Call]]:
    config = VAEConfig(base=32)
    return "Wan 2.1's autoencoder, base 32 of 96, 9 frames of 64x64", autoencoder(config, (9, 64, 64))


def vae22() -> tuple[str, dict[str, Call]]:
    config = VAEConfig(base=40, decoder_base=64, shortcuts=True, pixel_patch=2, latent_channels=48)
    return "Wan 2.2's autoencoder, base 40 and 64 of 160 and 256, 9 frames of 96x96", autoencoder(config, (9, 96, 96))


def text() -> tuple[str, dict[str, Call]]:
    config = TextConfig(vocabulary=8192, width=512, hidden=1280, depth=8, heads=8)
    return "UMT5, width 512 of 4096, 8 of 24 blocks, 512 tokens", text_encoder(config, prompts=1)


PARTS: dict[str, Callable[[], tuple[str, dict[str, Call]]]] = {
    "dit": dit,
    "dit12": partial(dit, 12),
    "vae": vae,
    "vae22": vae22,
    "text": text,
}
"""Parts to compare, by name: (shape in words, calls). Structures are real; widths and depths suit two cores."""
