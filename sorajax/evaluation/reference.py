"""The reference transformer, diffusers' WanTransformer3DModel in eager mode on the CPU, beside ours.

Needs the extra `parity`; torch and diffusers are imported where they are used.
"""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sorajax.evaluation.speed import alternating, normal, random_parameters
from sorajax.models.dit import TIME_UNITS, DiT, DiTConfig
from sorajax.models.sora import init_dit
from sorajax.pretrained.table import export_parameters
from sorajax.pretrained.wan import dit_table


def compare(
    config: DiTConfig, clips: int, latent: tuple[int, ...], tokens: int, repeats: int
) -> dict[str, Any]:
    """Our transformer and the reference in turns on the same weights and inputs: forward, and forward with backward.

    `latent` is (t, h, w) of one clip, `tokens` those of its text. Each part has the median seconds of both, their
    ratio, and the largest difference of what they compute, velocities or gradients, relative to the largest value.
    """
    import torch

    params = random_parameters(partial(init_dit, config))
    model = reference_transformer(config, params)
    x, target = normal(clips, *latent, config.in_channels), normal(clips, *latent, config.out_channels, seed=1)
    context, level = normal(clips, tokens, config.text_width, seed=2), 0.7
    their_x, their_target = (torch.tensor(np.moveaxis(a, -1, 1)) for a in (x, target))
    their_context, their_time = torch.tensor(context), torch.full((clips,), TIME_UNITS * level)

    def apply(params: Any, x: Array, context: Array) -> Any:
        return DiT(config).apply({"params": params}, x, jnp.full(x.shape[:2], level), context)

    def loss(params: Any, x: Array, context: Array, target: Array) -> Any:
        return jnp.mean(jnp.square(apply(params, x, context) - target))

    def their_apply() -> Any:
        return model(their_x, their_time, their_context, return_dict=False)[0]

    def their_forward() -> Any:
        with torch.no_grad():
            return their_apply()

    def their_backward() -> Any:
        model.zero_grad(set_to_none=True)
        torch.mean(torch.square(their_apply() - their_target)).backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    params, x, context, target = jax.device_put((params, x, context, target))
    forward = jax.jit(apply).lower(params, x, context).compile()
    backward = jax.jit(jax.value_and_grad(loss)).lower(params, x, context, target).compile()
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    found["versions"] = {name: version(name) for name in ("torch", "diffusers")}
    found["forward"] = alternating(lambda: forward(params, x, context), their_forward, repeats)
    found["forward_backward"] = alternating(lambda: backward(params, x, context, target), their_backward, repeats)
    ours, theirs = np.moveaxis(forward(params, x, context), -1, 1), their_forward().numpy()
    found["forward"]["difference"] = difference([(ours, theirs)])
    gradients = export_parameters(dit_table(config), backward(params, x, context, target)[1])
    pairs = [(gradients[name], value.numpy()) for name, value in their_backward().items()]
    found["forward_backward"]["difference"] = difference(pairs)
    return found


def reference_transformer(config: DiTConfig, params: Any) -> Any:
    """diffusers' WanTransformer3DModel of this config, with our weights, in float32."""
    import torch
    from diffusers import WanTransformer3DModel

    model: Any = WanTransformer3DModel(
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
    tensors = export_parameters(dit_table(config), params)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return model.eval()


def difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Largest difference of (ours, theirs), relative to the largest value of theirs."""
    largest = max(float(np.abs(theirs).max()) for _, theirs in pairs)
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs) / largest
