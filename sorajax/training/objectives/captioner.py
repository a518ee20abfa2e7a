"""Training a captioner and expander of prompts: one network that reads a clip's latents or a prompt, and writes.

    loss = cross-entropy(caption | register, latents + noise) + expansion * cross-entropy(long prompt | short prompt)

The first term is averaged over the words of a batch's captions, the second over those of its pairs of prompts.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sorajax.data.captioned import CaptionedBatch
from sorajax.language.network import REGISTERS, Words, WordsConfig, init_words, words_loss
from sorajax.models.folder import SmallStorage, export_model, load_model
from sorajax.training.step import Stage
from sorajax.training.varied import varied


@dataclass(frozen=True)
class CaptionerObjective:
    """The weights of the loss."""

    expansion: float = 0.5
    """Weight of the pairs of prompts."""
    noise: float = 0.4
    """Largest standard deviation of the noise on latents, uniform from 0 for each clip: generated clips are not as
    clean as rendered ones."""
    shift: int = 1
    """Latents by which clips are shifted up, down and sideways at most, the edges repeated: a convolutional encoder
    gives a shifted clip shifted latents."""


@flax.struct.dataclass
class CaptionerStage(Stage):
    """A captioner and expander learning from the world's grammar."""

    config: WordsConfig = flax.struct.field(pytree_node=False)
    objective: CaptionerObjective = flax.struct.field(pytree_node=False, default=CaptionerObjective())
    tokenizer: str = flax.struct.field(pytree_node=False, default="")
    storage: SmallStorage = flax.struct.field(pytree_node=False, default="int8")

    def init(self, key: jax.Array) -> Any:
        return init_words(self.config, key)

    def loss(self, params: Any, batch: CaptionedBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        latent = varied(batch.latent, self.objective.noise, self.objective.shift, key)
        apply: Any = partial(Words(self.config).apply, {"params": params})
        logits = apply(apply(latent, method="read_clip"), batch.register, batch.ids)
        caption, words, _ = words_loss(logits, batch.ids)
        metrics = {"caption": caption, "words": words}
        if not self.objective.expansion:
            return caption, metrics
        detailed = jnp.full(len(batch.long), REGISTERS.index("detailed"))
        logits = apply(apply(batch.short, batch.short > 0, method="read_prompt"), detailed, batch.long)
        expansion, _, _ = words_loss(logits, batch.long)
        return caption + self.objective.expansion * expansion, metrics | {"expansion": expansion}

    def validate(self, params: Any, batch: CaptionedBatch, key: jax.Array) -> dict[str, Any]:
        """The loss of captions, and the share of captions that are entirely right, which means most where all are
        canonical, since others have synonyms."""
        apply: Any = partial(Words(self.config).apply, {"params": params})
        logits = apply(apply(batch.latent, method="read_clip"), batch.register, batch.ids)
        caption, words, whole = words_loss(logits, batch.ids)
        return {"caption": caption, "words": words, "whole": whole}

    def tokens(self, batch: CaptionedBatch) -> float:
        """Words and patches of the clips."""
        patches = np.prod(batch.latent.shape[1:4]) // np.prod(self.config.patch)
        return float(batch.size * (patches + batch.ids.shape[1]))

    def export(self, directory: Path, params: Any) -> None:
        """The network as a model folder."""
        export_model(directory, params, self.config, self.tokenizer, self.storage)

    def load(self, directory: Path) -> Any:
        """The parameters in such a folder."""
        return load_model(directory, WordsConfig)[1]
