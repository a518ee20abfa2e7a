"""Numeric checks of the device: bfloat16 on the device against float32 on the CPU, with the same weights.

    error = sqrt(sum (device - reference)^2 / sum reference^2)          over all values, of a gradient over all leaves

Weights are rounded to bfloat16 first, so that only the computation differs. Tolerances are about twice the errors of
bfloat16 products with float32 sums; a wrong scale, a lost tile or float16 sums exceed them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import sorajax
from sorajax.diffusion.fixed_frames import no_fixed_frames
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.evaluation.proof.figures import Figure, Piece, Setting, tolerance
from sorajax.evaluation.proof.sizes import Heads, Sizes
from sorajax.evaluation.speed import normal, random_on_device
from sorajax.models.attention import KERNEL_LENGTH, attend, cudnn_supports
from sorajax.models.softmax import plain
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.models.text import TextEncoder
from sorajax.models.vae import VAE, VAEConfig, denormalise
from sorajax.models.velocity import velocity_of
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.program import sample_latents
from sorajax.sampling.request import Request
from sorajax.sampling.shots import shots_of
from sorajax.training.step import quick_compile

KERNEL = "cudnn$fmha"
"""Name in a compiled program of cuDNN's attention."""
PROMPT = "a red ball bounces on a grey floor"


def pieces(setting: Setting) -> dict[str, Piece]:
    """The checks, the attention kernel first, the autoencoders, which take longest, last."""
    sizes = setting.sizes
    found: dict[str, Piece] = {f"attention {named(heads)}": partial(attention, heads) for heads in sizes.attention}
    found |= {
        "transformer": partial(transformer, sizes),
        "text encoder": partial(text_encoder, sizes),
        "samplers": partial(samplers, sizes),
        "film": partial(film, sizes),
    }
    return found | {name: partial(autoencoder, name, config, sizes.clip) for name, config in sizes.autoencoders.items()}


def error(made: Any, reference: Any) -> float:
    """Relative RMS error over all leaves of two trees of arrays."""
    pairs = zip(jax.tree.leaves(made), jax.tree.leaves(reference), strict=True)
    sums = np.zeros(2)
    for ours, theirs in pairs:
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        sums += np.sum(np.square(ours - theirs)), np.sum(np.square(theirs))
    return float(np.sqrt(sums[0] / sums[1]))


def both(ours: Callable[..., Any], reference: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """The device's result for the arguments, and the CPU's result in float32, computed at the same time."""

    def on_cpu() -> Any:
        wide = jax.tree.map(widened, jax.device_get(arguments))
        program = jax.jit(reference, compiler_options=quick_compile("cpu"))
        return jax.device_get(program(*jax.device_put(wide, jax.devices("cpu")[0])))

    with ThreadPoolExecutor(1) as pool:
        expected = pool.submit(on_cpu)
        made = jax.device_get(once(ours)(*arguments))
        return made, expected.result()


def once(function: Callable[..., Any]) -> Any:
    """The function compiled for the device; on a CPU without optimisations, because it runs only once."""
    return jax.jit(function, compiler_options=quick_compile())


def widened(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype == jnp.bfloat16 else x


def named(heads: Heads) -> str:
    clips, queries, keys, number, width = heads
    return f"{clips}x{queries}x{number}x{width}" + (f" to {keys}" if keys != queries else "")


def attention(heads: Heads) -> Iterator[Figure]:
    """The device's attention kernel, forward and backward, against `plain` in float32 on the same device."""
    clips, queries, keys, number, width = heads
    shapes = [(clips, length, number, width) for length in (queries, keys, keys, queries)]
    *inputs, pull = (jnp.asarray(normal(*shape, seed=seed), jnp.bfloat16) for seed, shape in enumerate(shapes))

    def forward_and_back(attend: Callable[..., Any], pull: Array, *inputs: Array) -> Any:
        made, back = jax.vjp(attend, *inputs)
        return made, back(pull)

    ours = once(partial(forward_and_back, attend)).lower(pull, *inputs).compile()
    kernel = "cuDNN" if KERNEL in ours.as_text() else "plain"
    made, gradient = ours(pull, *inputs)
    with jax.default_matmul_precision("highest"):
        exact = partial(forward_and_back, partial(plain, bias=None, scale=width**-0.5))
        expected, expected_gradient = once(exact)(*(x.astype(jnp.float32) for x in (pull, *inputs)))
    yield tolerance(f"attention {named(heads)}", error(made, expected), 5e-3, kernel)
    yield tolerance(f"attention {named(heads)} gradient", error(gradient, expected_gradient), 8e-3, kernel)
    if jax.default_backend() == "gpu" and cudnn_supports(inputs[0]) and min(queries, keys) >= KERNEL_LENGTH:
        yield Figure(f"attention {named(heads)} is cuDNN's", float(kernel == "cuDNN"), "", 1.0, check=True)


def transformer(sizes: Sizes) -> Iterator[Figure]:
    """A velocity, and the gradient of its mean square, of blocks of full width."""
    shape = sizes.checked
    params = random_on_device(partial(init_dit, shape.dit), "bfloat16")
    x, context = normal(1, *shape.latent, shape.dit.in_channels), normal(1, shape.tokens, shape.dit.text_width, seed=1)
    clock = np.linspace(0.2, 0.9, shape.latent[0], dtype=np.float32)[None]

    def computed(dtype: str, params: Any, x: Array, clock: Array, context: Array) -> Any:
        def loss(params: Any) -> tuple[Array, Any]:
            velocity = velocity_of(replace(shape.dit, dtype=dtype), {"params": params}, context)(x, clock)
            return jnp.mean(jnp.square(velocity)), velocity

        (_, velocity), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return velocity, gradient

    arguments = params, x, clock, context
    (velocity, gradient), expected = both(partial(computed, "bfloat16"), partial(computed, "float32"), *arguments)
    yield tolerance("transformer", error(velocity, expected[0]), 1e-2)
    yield tolerance("transformer gradient", error(gradient, expected[1]), 1e-2)


def autoencoder(name: str, config: VAEConfig, clip: tuple[int, int, int]) -> Iterator[Figure]:
    """The latents of a clip, and the unclipped pixels of latents."""
    params = random_on_device(partial(init_vae, config), "bfloat16")
    video, latent = np.tanh(normal(1, *clip, 3)), normal(1, *config.latent_shape(*clip), seed=1)

    def computed(dtype: str, params: Any, video: Array, latent: Array) -> Any:
        apply = partial(VAE(replace(config, dtype=dtype)).apply, {"params": params})
        return apply(video, method="encode"), apply(denormalise(latent, config), method=unclipped)

    arguments = params, video, latent
    made, expected = both(partial(computed, "bfloat16"), partial(computed, "float32"), *arguments)
    yield tolerance(f"{name} encoder", error(made[0], expected[0]), 2e-2)
    yield tolerance(f"{name} decoder", error(made[1], expected[1]), 2e-2)


def unclipped(model: VAE, raw: Array) -> Array:
    """The decoder's pixels before they are clipped, which would hide errors."""
    return model.decoder(raw, {})[0].astype(jnp.float32)


def text_encoder(sizes: Sizes) -> Iterator[Figure]:
    """The embeddings of a prompt that fills half of the tokens."""
    config = sizes.text
    params = random_on_device(partial(init_text, config), "bfloat16")
    q = params["blocks"]["q"]
    q["kernel"] = q["kernel"] / config.head_width**0.5  # scores are not scaled
    ids = np.random.default_rng(0).integers(1, config.vocabulary, (1, config.tokens), np.int32)
    mask = np.arange(config.tokens)[None] < config.tokens // 2

    def computed(dtype: str, params: Any, ids: Array, mask: Array) -> Any:
        return TextEncoder(replace(config, dtype=dtype)).apply({"params": params}, ids, mask)

    made, expected = both(partial(computed, "bfloat16"), partial(computed, "float32"), params, ids, mask)
    yield tolerance("text encoder", error(made, expected), 2e-2)


def samplers(sizes: Sizes) -> Iterator[Figure]:
    """Sampler loops with guidance, from the seed to latents: in float32 with full-precision products, and in
    bfloat16."""
    config, latent = sizes.sampled, (1, *sizes.sampled_latent, sizes.sampled.vae.latent_channels)
    params = random_on_device(partial(init_dit, config.dit), "bfloat16")
    context = normal(2, config.text.tokens, config.text.width)
    times, positions = np.linspace(1, 0, sizes.steps + 1, dtype=np.float32), np.arange(latent[1], dtype=np.float32)

    def computed(dtype: str, name: str, params: Any, context: Float[Array, "2 m e"]) -> Any:
        typed = replace(config, dit=replace(config.dit, dtype=dtype))
        seeds, scale, temperature = jnp.zeros(1, jnp.uint32), jnp.float32(config.guidance_scale), jnp.float32(1)
        conditions = abstract_conditions(config, latent[1:], sizes.steps)._replace(
            context=context,
            seeds=seeds,
            times=jnp.asarray(times),
            guidance_scale=scale,
            temperature=temperature,
            positions=jnp.asarray(positions),
            known=no_fixed_frames(latent),
        )
        return sample_latents(typed, SAMPLERS[name], True, None, params, conditions)[0]

    for name in sizes.samplers:
        with jax.default_matmul_precision("highest"):
            wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
            made, expected = both(partial(computed, "float32", name), partial(computed, "float32", name), wide, context)
        yield tolerance(f"{name}, {sizes.steps} steps, float32", error(made, expected), 1e-4)
        made = once(partial(computed, "bfloat16", name))(params, context)
        yield tolerance(f"{name}, {sizes.steps} steps, bfloat16", error(made, expected), 2e-2)


def film(sizes: Sizes) -> Iterator[Figure]:
    """Two windows of the embedded world model, pixels in [-1, 1]: in its default type on the device, and in bfloat16.

    Pixels are bytes: if one in eight rounds the other way, the error is already 5e-3.
    """
    expected = filmed(sizes, jax.devices("cpu")[0], "float32")
    for dtype, most in (("float32", 1e-2), ("bfloat16", 3e-2)):
        made = filmed(sizes, jax.devices()[0], dtype)
        yield tolerance(f"film, {sizes.film_steps} steps, {dtype}", error(made, expected), most)


def filmed(sizes: Sizes, device: jax.Device, dtype: Any) -> Float[np.ndarray, "t y x 3"]:
    """A film of two windows, sampled and decoded on a device."""
    before = jax.config.values["jax_default_device"]
    jax.config.update("jax_default_device", device)  # of all threads: the pipeline computes in others than this one
    try:
        model = sorajax.load(dtype=dtype)
        frames = model.config.film_window + model.config.vae.stride[0]
        request = Request((PROMPT,), frames=frames, steps=sizes.film_steps)
        made = model.film(model.plan(request), shots_of(PROMPT, frames), request.seed).whole()
    finally:
        jax.config.update("jax_default_device", before)
    return made.frames.astype(np.float32) / 127.5 - 1.0
