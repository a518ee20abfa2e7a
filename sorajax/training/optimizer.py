"""Optimizers: AdamW (Loshchilov & Hutter 2019) or Muon (Jordan 2024), schedules, clipping, accumulation, averaging.

Muon orthogonalises the momentum of each matrix (Newton-Schulz). It takes the matrices of hidden layers: `kernel` leaves
of two dimensions, of three (scanned stacks, depth first: a batch of matrices), and of four or five (convolutions, read
as one matrix of taps x in rows). Embeddings, the layers that touch pixels or latents, norms, biases and tables go to
AdamW. Its update is scaled to AdamW's usual size (0.2 root mean square; Liu et al. 2025, eq. 4), so one learning
rate serves both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from sorajax.devices.sharding import path_name
from sorajax.training.posthoc import check_widths, track

Decay = Callable[[jax.Array], Any]
"""Number of updates so far, float32 [] -> the share of a moving average that the next update keeps."""

# Kernels whose input or output is data rather than hidden features.
BOUNDARY = re.compile(r"(^|/)(patch_in|patch_out|time_in|conv_in|conv_out|moments|latent)/kernel$")


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow gradients. `learning_rate` is the peak."""

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the decay to `final` over the last `decay` of the run."""
    warmup: int = 100
    """Updates over which the rate rises linearly from zero."""
    decay: float = 1.0
    """Share of the run, at its end, over which the rate falls: 1 from the warm-up on, 0.2 is warm-up-stable-decay."""
    final: float = 0.0
    """The last rate as a share of the peak."""
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.95
    """Momentum of Muon."""
    iterations: int = 5
    """Newton-Schulz steps of Muon."""
    clip: float = 1.0
    """Global gradient norm above which gradients are scaled down; 0 never."""
    accumulation: int = 1
    """Batches averaged into one update."""
    state_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the stored moments; updates are computed in float32, and the average is always float32."""
    ema: float = 0.999
    """Decay of the parameter average per update, reached by a warm-up of (1 + n) / (10 + n)."""
    posthoc: tuple[float, ...] = ()
    """Relative widths of power-function averages kept beside that one, e.g. 0.05 0.1, for `sorajax.average`."""
    snapshot_every: int = 500
    """Batches between two snapshots of those."""

    def __post_init__(self) -> None:
        for name, low, high in (("decay", 0.0, 1.0), ("ema", 0.0, 1.0), ("final", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"optimizer.{name} is {getattr(self, name)}: it must be in [{low:g}, {high:g}]")
        if self.learning_rate <= 0:
            raise ValueError(f"optimizer.learning_rate is {self.learning_rate}: it must be positive")
        check_widths("optimizer.posthoc", self.posthoc)
        if self.snapshot_every < 1:
            raise ValueError(f"optimizer.snapshot_every is {self.snapshot_every}: it must be 1 or more")
        if self.accumulation < 1:
            raise ValueError(f"optimizer.accumulation is {self.accumulation}: it must be 1 or more")


def schedule(config: OptimizerConfig, steps: int | None) -> optax.Schedule:
    """The learning rate at each update, for a run of `steps` batches; of None it does not fall (see `clock`)."""
    if steps is None:
        pieces = [
            optax.linear_schedule(0.0, config.learning_rate, config.warmup),
            optax.constant_schedule(config.learning_rate),
        ]
        return optax.join_schedules(pieces, [config.warmup])
    total = max(1, steps // config.accumulation)
    warmup = min(config.warmup, total)
    falling = min(max(1, round(config.decay * total)), max(1, total - warmup))
    peak, final = config.learning_rate, config.learning_rate * config.final
    pieces = [optax.linear_schedule(0.0, peak, warmup), optax.constant_schedule(peak)]
    bounds = [warmup, total - falling]
    if config.schedule == "constant" or config.decay == 0:
        return optax.join_schedules(pieces, bounds[:1])
    fall = (
        optax.cosine_decay_schedule(peak, falling, config.final)
        if config.schedule == "cosine"
        else optax.linear_schedule(peak, final, falling)
    )
    return optax.join_schedules([*pieces, fall], bounds)


def make_optimizer(config: OptimizerConfig, steps: int | None) -> optax.GradientTransformationExtraArgs:
    """The gradient transformation for a run of `steps` batches, or of minutes (None).

    Its `update` takes `rate_scale`, which multiplies the learning rate.
    """
    rate = schedule(config, steps)
    if config.name == "muon":
        update = muon(
            rate,
            ns_steps=config.iterations,
            beta=config.momentum,
            weight_decay=config.weight_decay,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            adam_learning_rate=rate,
            muon_weight_dimension_numbers=matrices,
            consistent_rms=0.2,
        )
    else:
        update = optax.adamw(rate, config.beta1, config.beta2, weight_decay=config.weight_decay, mask=decayed)
    if config.state_dtype != "float32":
        update = kept_as(update, jnp.dtype(config.state_dtype))
    update = rescaled(update)
    chain = optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip > 0 else update
    chain = optax.chain(chain, track(config.posthoc)) if config.posthoc else chain
    if config.accumulation > 1:
        return optax.MultiSteps(chain, config.accumulation).gradient_transformation()
    return chain


def rescaled(update: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`update` with all that it changes, weight decay included, times `rate_scale`; its state is as before."""

    def step(gradient: Any, state: Any, params: Any = None, *, rate_scale: Any = 1.0, **_: Any) -> tuple[Any, Any]:
        change, state = update.update(gradient, state, params)
        return jax.tree.map(lambda x: x * rate_scale, change), state

    return optax.GradientTransformationExtraArgs(update.init, step)


def kept_as(update: optax.GradientTransformation, dtype: Any) -> optax.GradientTransformation:
    """`update` with the floats of its state kept as `dtype`: half the memory in bfloat16, for moments of 8 bits."""

    def cast(state: Any, wanted: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(wanted) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)

    def step(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        change, state = update.update(gradient, cast(state, jnp.float32), params)
        return change, cast(state, dtype)

    return optax.GradientTransformation(lambda params: cast(update.init(params), dtype), step)


def matrices(params: Any) -> Any:
    """Which axes of each leaf are a matrix's rows (inputs) and columns (outputs); None where Muon does not apply."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> MuonDimensionNumbers | None:
        name = path_name(path)
        if not name.endswith("kernel") or leaf.ndim < 2 or BOUNDARY.search(name):
            return None
        if leaf.ndim <= 3:
            return MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map_with_path(one, params)


def decayed(params: Any) -> Any:
    """True for kernels; biases, norms and tables are not pulled to zero, nor are scanned stacks of them."""
    return jax.tree.map_with_path(lambda path, leaf: path_name(path).endswith("kernel") and leaf.ndim >= 2, params)


def ema_decay(config: OptimizerConfig) -> Decay:
    """The decay of `TrainState.ema`: `config.ema` after a warm-up."""
    return lambda updates: jnp.minimum(config.ema, (1 + updates) / (10 + updates))


def averaged(average: Any, params: Any, step: jax.Array, accumulation: int, decay: Decay) -> Any:
    """A moving average after batch number `step`; it moves only when an update was applied."""
    kept = decay((step // accumulation).astype(jnp.float32))
    kept = jnp.where(step % accumulation == 0, kept, 1.0)
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, params)
