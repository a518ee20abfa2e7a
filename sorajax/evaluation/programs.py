"""The programs that a benchmark times: a training step, a denoising step, decoding and encoding, compiled as in use."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.devices.placement import ONE_DEVICE, Placement
from sorajax.devices.sharding import place_batch, shardings
from sorajax.diffusion.guidance import guided_pair
from sorajax.diffusion.samplers import euler
from sorajax.evaluation.cases import Case
from sorajax.evaluation.speed import Figures, cache_hits, normal, random_parameters, summary, timed, timed_compile
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import init_dit, init_vae
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.velocity import velocity_of
from sorajax.sampling.program import compile_function, decode_whole
from sorajax.training.flops import forward_flops, training_flops
from sorajax.training.optimizer import make_optimizer
from sorajax.training.step import Stage, make_begin, make_update, method

GUIDANCE, TIMES = 4.0, (0.9, 0.8)
"""The scale and the two times of the denoising step that is timed."""


class Ready(NamedTuple):
    """A compiled program with its arguments: `call` runs it once."""

    call: Callable[[], Any]
    program: Any
    compile_seconds: float
    cached: bool
    """Whether the compiled program was read from the cache on disk."""
    flops: float

    def timed(self, repeats: int, devices: int = 1) -> Figures:
        return summary(self.program, self.compile_seconds, timed(self.call, repeats), self.flops, devices)


def training_step(case: Case, mesh: jax.sharding.Mesh, repeats: int) -> tuple[Figures, list[float]]:
    """Figures of a training step, and the loss of each step."""
    losses: list[Any] = []
    found = ready_training(case, mesh, losses).timed(repeats, mesh.size)
    return found, [float(loss) for loss in losses]


def ready_training(
    case: Case, mesh: jax.sharding.Mesh, losses: list[Any], random: Callable[..., Any] = random_parameters
) -> Ready:
    """A training step as the loop runs it: loss, gradient, update and average. Each call appends its loss to `losses`.

    random: draws random parameters with the structure of an initialiser's.
    """
    optimizer, key, whole = make_optimizer(case.optimizer, 1000), jax.random.key(0), np.float32(1)
    with jax.set_mesh(mesh):
        params = random(case.stage.init)
        flops = training_flops(case.stage.loss, params, case.batch, key)
        begin = make_begin(optimizer, case.stage)
        where = shardings(jax.eval_shape(begin, params), mesh)
        state = jax.jit(begin, out_shardings=where)(params)
        batch = place_batch(case.batch, mesh)
        update = jax.jit(
            make_update(optimizer, case.optimizer),
            donate_argnums=0,
            out_shardings=(where, None),
            compiler_options=method(case.stage, Stage.compiler_options)(),
        )
        with cache_hits() as hits:
            program, seconds = timed_compile(lambda: update.lower(state, case.stage, batch, key, whole).compile())

    def step() -> Any:
        nonlocal state
        with jax.set_mesh(mesh):
            state, metrics = program(state, case.stage, batch, key, whole)
        losses.append(metrics["loss"])
        return metrics

    return Ready(step, program, seconds, bool(hits), flops)


def guided_step(config: DiTConfig) -> Callable[..., Any]:
    """(parameters, x, contexts with and without the prompt, times) -> x after one Euler step with classifier-free
    guidance. Both velocities come from one batch of two, as in the pipeline."""

    def step(params: Any, x: Float[Array, "b t h w c"], context: Float[Array, "2b m e"], times: Float[Array, "2"]):
        def pair(x: Array, clock: Array) -> tuple[Array, Array]:
            twice, clocks = jnp.concatenate([x, x]), jnp.concatenate([clock, clock])
            both = velocity_of(config, {"params": params}, context)(twice, clocks)
            velocity, velocity_null = jnp.split(both, 2)
            return velocity, velocity_null

        return euler(guided_pair(pair, GUIDANCE), x, times)

    return step


def denoising_step(config: DiTConfig, case: Case, repeats: int, placement: Placement = ONE_DEVICE) -> Figures:
    """Figures of one denoising step of one clip with guidance."""
    config = replace(config, unroll=1)  # the pipeline's choice: it compiles sooner
    params = jax.device_put(random_parameters(partial(init_dit, config)))
    latent, context = normal(1, *case.latent), normal(2, case.tokens, config.text_width)
    times = np.array(TIMES, np.float32)
    return measure_function(guided_step(config), repeats, params, latent, context, times, placement=placement)


def decoding(config: VAEConfig, case: Case, repeats: int, placement: Placement = ONE_DEVICE) -> Figures:
    """Figures of decoding one clip, as in the pipeline."""
    params = jax.device_put(random_parameters(partial(init_vae, config)))
    found = measure_function(
        partial(decode_whole, config), repeats, params, normal(1, *case.latent), placement=placement
    )
    return replace(found, frames_per_second=case.size[0] / found.seconds)


def encoding(config: VAEConfig, case: Case, repeats: int, placement: Placement = ONE_DEVICE) -> Figures:
    """Figures of encoding one clip."""

    def encode(params: Any, video: Float[Array, "b t y x 3"]) -> Any:
        return VAE(config).apply({"params": params}, video, method="encode")

    params = jax.device_put(random_parameters(partial(init_vae, config)))
    found = measure_function(encode, repeats, params, np.tanh(normal(1, *case.size, 3)), placement=placement)
    return replace(found, frames_per_second=case.size[0] / found.seconds)


def measure_function(
    function: Callable[..., Any], repeats: int, *arguments: Any, placement: Placement = ONE_DEVICE
) -> Figures:
    """Figures of a function of parameters and other arguments."""
    devices = 1 if placement.mesh is None else placement.mesh.size
    return ready(function, *arguments, placement=placement).timed(repeats, devices)


def ready(function: Callable[..., Any], *arguments: Any, placement: Placement = ONE_DEVICE) -> Ready:
    """Compiles a function of parameters and other arguments as the pipeline does."""
    params, *others = jax.device_put(arguments)
    arguments = placement.place(params), *placement.replicate(others)
    flops = forward_flops(function, *arguments)
    with cache_hits() as hits:
        program, seconds = timed_compile(lambda: compile_function(function, *arguments, placement=placement))
    return Ready(lambda: program(*arguments), program, seconds, bool(hits), flops)
