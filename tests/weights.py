"""Random weights of a whole model."""

from functools import partial

import jax

from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae


@partial(jax.jit, static_argnums=0)
def init(config: SoraConfig, key: jax.Array) -> dict:
    """Random parameters of all three models: {"text", "dit", "vae"}, nested dicts of float32 arrays."""
    keys = jax.random.split(key, 3)
    text, dit = init_text(config.text, keys[0]), init_dit(config.dit, keys[1])
    return {"text": text, "dit": dit, "vae": init_vae(config.vae, keys[2])}
