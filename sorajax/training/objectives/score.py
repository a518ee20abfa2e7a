"""Training the score of text and video: two towers on a frozen captioner's encoder, with the sigmoid loss.

    loss = -mean over clips i of sum over prompts j of log sigmoid(z_ij logit_ij),  z = 1 for i = j, else -1

Zhai et al. 2023, eq. 1. Each clip's caption is its prompt; the others of the batch are what it does not show.
"""

from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from sorajax.data.captioned import CaptionedBatch
from sorajax.language.network import Memory, Words, WordsConfig
from sorajax.language.score import ScoreConfig, Towers
from sorajax.models.folder import SmallStorage, export_model, load_model
from sorajax.training.step import Stage
from sorajax.training.varied import varied


@flax.struct.dataclass
class ScoreStage(Stage):
    """Two towers learning which caption is a clip's."""

    words: Any
    """Parameters of the captioner."""
    captioner: WordsConfig = flax.struct.field(pytree_node=False)
    config: ScoreConfig = flax.struct.field(pytree_node=False)
    noise: float = flax.struct.field(pytree_node=False, default=0.4)
    """Largest standard deviation of the noise on latents, as in `objectives.captioner`."""
    shift: int = flax.struct.field(pytree_node=False, default=1)
    """Largest shift of a clip, in latents, as there."""
    storage: SmallStorage = flax.struct.field(pytree_node=False, default="int8")

    def init(self, key: jax.Array) -> Any:
        width = self.captioner.width
        memory = Memory(jnp.zeros((1, 1, width)), jnp.ones((1, 1), bool))
        return Towers(self.config).init(key, memory, memory)["params"]

    def logits(self, params: Any, latent: jax.Array, ids: jax.Array) -> jax.Array:
        """The logits of all pairs of a clip and a caption."""
        read: Any = partial(Words(self.captioner).apply, {"params": self.words})
        memories = read(latent, method="read_clip"), read(ids, ids > 0, method="read_prompt")
        towers: Any = partial(Towers(self.config).apply, {"params": params})
        return towers(*jax.lax.stop_gradient(memories))

    def loss(self, params: Any, batch: CaptionedBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        logits = self.logits(params, varied(batch.latent, self.noise, self.shift, key), batch.ids)
        loss = -jnp.mean(jnp.sum(jax.nn.log_sigmoid(logits * (2 * jnp.eye(batch.size) - 1)), 1))
        return loss, {"first": jnp.mean(jnp.argmax(logits, 1) == jnp.arange(batch.size))}

    def validate(self, params: Any, batch: CaptionedBatch, key: jax.Array) -> dict[str, Any]:
        """The share of clips whose own caption has the highest score of the batch."""
        logits = self.logits(params, batch.latent, batch.ids)
        return {"first": jnp.mean(jnp.argmax(logits, 1) == jnp.arange(batch.size))}

    def export(self, directory: Path, params: Any) -> None:
        """The towers as a model folder; the captioner stays in its own."""
        export_model(directory, params, self.config, None, self.storage)

    def load(self, directory: Path) -> Any:
        """The parameters in such a folder."""
        return load_model(directory, ScoreConfig)[1]
