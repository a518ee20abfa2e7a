"""Sampling at full size with random weights in bfloat16: a guided step, the text encoder, the decoder, a whole clip."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.evaluation.cases import Shape, velocity_flops
from sorajax.evaluation.programs import TIMES, Ready, guided_step, ready
from sorajax.evaluation.proof.figures import Figure, Piece, Setting
from sorajax.evaluation.proof.sizes import Sizes
from sorajax.evaluation.proof.timing import compile_figure, counted, memory, profiled, rates
from sorajax.evaluation.speed import cache_hits, normal, random_on_device, timed, timed_compile
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.models.stream import decode_singly
from sorajax.models.tiles import decode_tiles
from sorajax.sampling.program import encode_text
from sorajax.training.metrics import peak_flops

STEPS = 50
UTILISED, AIM = 0.5, "aim 65%"
SECONDS = 75.0
"""Bar for a whole clip, in seconds."""
WEIGHTS = "bfloat16"


def pieces(setting: Setting) -> dict[str, Piece]:
    """The measurements, the transformer first; the clip's estimate needs those before it."""
    clip = Clip(setting)
    return {
        "matrix product": clip.product,
        "denoising step": clip.step,
        "text encoder": clip.text,
        "decoder": clip.decode,
        "clip": clip.whole,
        "decoder in tiles": clip.tiles,
    }


def step_inputs(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, contexts and times of a step."""
    config = shape.dit
    latent, context = normal(1, *shape.latent, config.in_channels), normal(2, shape.tokens, config.text_width, seed=1)
    return latent, context, np.array(TIMES, np.float32)


def step_of(sizes: Sizes) -> tuple[Ready, float]:
    """The guided denoising step of one clip, and its FLOPs by formula."""
    shape = sizes.timed
    config = replace(shape.dit, unroll=1)  # the pipeline's choice: it compiles sooner
    params = random_on_device(partial(init_dit, config), WEIGHTS)
    program = ready(guided_step(config), params, *step_inputs(shape))
    return program, 2 * velocity_flops(config, shape.latent, shape.tokens)


@dataclass
class Clip:
    """The time of one clip, program by program."""

    setting: Setting
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by program, of those timed so far."""

    def product(self) -> Iterator[Figure]:
        """One product of square matrices: the FLOP/s that the device reaches."""
        size = self.setting.sizes.product
        a, b = (jax.random.normal(jax.random.key(seed), (size, size), WEIGHTS) for seed in range(2))
        found = ready(jnp.matmul, a, b).timed(10 * self.setting.sizes.repeats)
        yield Figure(f"matrix product of {size}^3", found.flops_per_second / 1e12, "TFLOP/s")
        if peak := peak_flops():
            yield Figure("matrix product: utilisation", found.flops_per_second / (peak / len(jax.devices())), "%")

    def step(self) -> Iterator[Figure]:
        """The guided denoising step."""
        shape = self.setting.sizes.timed
        program, flops = step_of(self.setting.sizes)
        yield compile_figure("denoising step", program.compile_seconds, program.cached)
        found = program.timed(self.setting.sizes.repeats)
        self.seconds["step"] = found.seconds
        tokens = np.prod([size // side for size, side in zip(shape.latent, shape.dit.patch)])
        yield from rates("denoising step", found, flops, UTILISED, f"{AIM}; {tokens:,} tokens, guided")
        yield counted("denoising step", found, flops)
        yield from memory("denoising step")
        yield from profiled(self.setting, "denoising step", program.call)

    def text(self) -> Iterator[Figure]:
        """The text encoder on the prompt and then the negative prompt, as in the pipeline."""
        config = replace(self.setting.sizes.timed_text, dtype=WEIGHTS)
        params = random_on_device(partial(init_text, config), WEIGHTS)
        ids, mask = np.ones((1, config.tokens), np.int32), np.ones((1, config.tokens), bool)
        program = ready(partial(encode_text, config), params, ids, mask)
        yield compile_figure("text encoder", program.compile_seconds, program.cached)
        found = program.timed(self.setting.sizes.repeats)
        self.seconds["text"] = 2 * found.seconds
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        yield Figure("text encoder, two prompts", 2 * found.seconds, "s", note=f"{count / 1e9:.3g} G parameters")
        yield from profiled(self.setting, "text encoder", program.call)

    def decode(self) -> Iterator[Figure]:
        """Decoding of whole frames, one latent frame at a time, to uint8 on the host."""
        yield from self.decoded("decoder, whole frames", decode_singly)
        yield from memory("decoder, whole frames")

    def tiles(self) -> Iterator[Figure]:
        """Decoding tile by tile, as the pipeline does when memory is short."""
        yield from self.decoded("decoder, tiles", partial(decode_tiles, side=self.setting.sizes.tile, ends=True))

    def decoded(self, name: str, decode: Any) -> Iterator[Figure]:
        """Decoding of one clip by one of the pipeline's decoders; the first call compiles."""
        config = replace(self.setting.sizes.timed_vae, dtype=WEIGHTS)
        params = random_on_device(partial(init_vae, config), WEIGHTS)
        latent = jnp.asarray(normal(1, *self.setting.sizes.timed.latent, config.latent_channels))

        def call() -> Any:
            return decode(params, config, latent, {})[0]

        with cache_hits() as hits:
            frames, seconds = timed_compile(call)
        yield compile_figure(f"{name}, first call", seconds, bool(hits))
        self.seconds[name] = min(timed(call, 1))
        size = f"{frames.shape[1]} frames of {frames.shape[3]}x{frames.shape[2]}"
        yield Figure(name, self.seconds[name], "s", note=size)
        yield from profiled(self.setting, name, call)

    def whole(self) -> Iterator[Figure]:
        """Estimated time of a clip: all steps, both prompts, and decoding."""
        parts = ("step", "text", "decoder, whole frames")
        if missing := [part for part in parts if part not in self.seconds]:
            yield Figure(f"clip of {STEPS} guided steps", None, note=f"no figure of {missing[0]}")
            return
        step, text, decoder = (self.seconds[part] for part in parts)
        seconds = STEPS * step + text + decoder
        note = f"estimate: {STEPS} x {step:.4g} + {text:.4g} + {decoder:.4g} s"
        yield Figure(f"clip of {STEPS} guided steps", seconds, "s", SECONDS, most=True, note=note)
