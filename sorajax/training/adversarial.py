"""The adversarial loss of an autoencoder and a critic of its reconstructions, as one scalar for one optimizer.

    critic        mean relu(1 - D(x)) + mean relu(1 + D(y)) + penalty * mean (D(x) - D(x + noise))^2 / noise^2
    autoencoder   - mean D(y),  y = its reconstruction of x

The first two terms are the hinge loss (Lim & Ye 2017). The third is R1 (Mescheder et al. 2018, eq. 9),
the squared gradient of D on real videos, by a random finite difference (Lin et al. 2025, "Diffusion
Adversarial Post-Training"): no second derivative, and no state.

A game has no value that both lower, so the scalar's value is 0; its gradient holds both players' own. The autoencoder's
is balanced at its output: the gradient in y is scaled to `weight` times the length that an l1 term's has, which is
always the same. This is the adaptive weight of Esser et al. 2021 (eq. 7), measured on pixels as Defossez et al. 2022
(section 3.4) do: the weight means the same for any critic, at any time, and costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sorajax.models.critic import Critic, CriticConfig

LARGEST = 1e4  # factor that balancing may apply, as in Esser et al. 2021


@dataclass(frozen=True)
class AdversarialConfig:
    """How a critic takes part in a run."""

    weight: float = 0.0
    """Weight of the critic's gradient at the pixels, relative to that of an l1 term of weight 1; 0: there is no
    critic."""
    after: int = 1000
    """Batches before the critic starts: it learns nothing from reconstructions that are still blurred."""
    ramp: int = 500
    """Batches over which the weight then rises from 0 to `weight`, while the critic learns."""
    penalty: float = 0.01
    """Weight of R1, the squared gradient of each of the critic's answers by a real video's pixels. It is large, since
    an answer depends on thousands of pixels: at 1 a critic learns nothing."""
    noise: float = 0.05
    """Standard deviation of the noise that R1 is measured with, in [-1, 1] units."""
    critic: CriticConfig = CriticConfig()

    def __post_init__(self) -> None:
        for name, low in (("weight", 0), ("after", 0), ("ramp", 0), ("penalty", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"adversarial.{name} is {getattr(self, name)}: it must be {low} or more")
        if self.noise <= 0:
            raise ValueError(f"adversarial.noise is {self.noise}: it must be positive")


def hinge(real: Float[Array, "..."], made: Float[Array, "..."]) -> Float[Array, ""]:
    """The critic's loss: 0 where its answer is at least 1 for all real clips and at most -1 for all reconstructions."""
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made))


def share(config: AdversarialConfig, step: Int[Array, ""]) -> Float[Array, ""]:
    """The autoencoder's weight at a step: 0 up to the step `after`, `weight` from `after` + `ramp` on."""
    return config.weight * jnp.clip((step - config.after) / max(config.ramp, 1), 0.0, 1.0)


def game(
    config: AdversarialConfig,
    params: Any,
    video: Float[Array, "b t h w 3"],
    made: Float[Array, "b t h w 3"],
    step: Int[Array, ""],
    key: jax.Array,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """A scalar of value 0 with the gradients of both players, and metrics: the critic's loss, and the share of its
    answers whose sign is right. `params` are the critic's, from `init_critic`."""
    judge: Callable[..., Any] = Critic(config.critic).apply
    fixed, frozen = jax.lax.stop_gradient(made), jax.lax.stop_gradient(params)
    shaken_video = video + config.noise * jax.random.normal(key, video.shape)
    real, false, shaken = (judge({"params": params}, clip) for clip in (video, fixed, shaken_video))
    loss = hinge(real, false) + config.penalty * jnp.mean(jnp.square(shaken - real)) / config.noise**2
    pull = share(config, step) * balanced(jax.grad(lambda clip: -jnp.mean(judge({"params": frozen}, clip)))(fixed))
    both = loss + jnp.sum(jax.lax.stop_gradient(pull) * made)
    right = (jnp.mean(real > 0, dtype=jnp.float32) + jnp.mean(false < 0, dtype=jnp.float32)) / 2
    return both - jax.lax.stop_gradient(both), {"critic": loss, "told_apart": right}


def balanced(gradient: Float[Array, "..."]) -> Float[Array, "..."]:
    """Scaled to the length of an l1 term's gradient: that of `size` values of 1 / size."""
    own, wanted = jnp.sqrt(jnp.sum(jnp.square(gradient))), gradient.size**-0.5
    return gradient * jnp.minimum(wanted / jnp.maximum(own, 1e-30), LARGEST)
