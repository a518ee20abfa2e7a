"""A frozen text encoder, whose embeddings a transformer is trained on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from sorajax.data.contexts import TEXT, Contexts, Embed, encode_captions
from sorajax.data.latents import signature
from sorajax.devices.sharding import mesh_of_all_devices, split_over_all_devices
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig, TextEncoder, Tokenizer, clean
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.open import read_external_parts
from sorajax.pretrained.wan_folder import is_open_model, open_model


@dataclass(frozen=True)
class FrozenText:
    """A trained text encoder; its parameters are read on first use."""

    config: TextConfig
    tokenizer: str
    """The text of its tokenizer.json."""
    clean: bool
    """Whether its prompts are cleaned first, see `models.text.clean`."""
    made_by: str
    """The signature of its parameters."""
    load: Callable[[], Any]

    def embed(self) -> Embed:
        """Opens the encoder. It stays in memory as long as what is returned does."""
        params, tokenizer = self.load(), Tokenizer(self.tokenizer, self.config.tokens)
        mesh = mesh_of_all_devices()
        apply = jax.jit(
            partial(_encoded, self.config), out_shardings=None if mesh is None else NamedSharding(mesh, P())
        )

        def embed(captions: Sequence[str]) -> list[Float[np.ndarray, "m e"]]:
            ids, mask = tokenizer.encode([clean(text) if self.clean else text for text in captions], cut=True)
            found = np.asarray(apply(params, ids, mask))
            return [context[:length] for context, length in zip(found, mask.sum(1))]

        return embed

    def contexts(self, captions: Mapping[Path, Iterable[str]]) -> Contexts:
        """The embeddings of these captions, kept in their folders, encoded now where they are not there."""
        open_once = cache(self.embed)

        for folder, texts in captions.items():
            encode_captions(folder, texts, open_once, self.made_by)
        return Contexts(list(captions), self.made_by, self.config.tokens)


def _encoded(config: TextConfig, params: Any, ids: jax.Array, mask: jax.Array) -> Any:
    return TextEncoder(config).apply({"params": params}, ids, mask)


def open_text(folder: Path, dtype: Dtype | None = None) -> FrozenText:
    """The text encoder of a model folder, a training directory or a folder of open weights, which runs in `dtype`:
    by default float32 on CPU, bfloat16 elsewhere. Raises FileNotFoundError and ValueError, each on one line."""
    folder = read_external_parts(folder).get(TEXT, folder)
    if is_open_model(folder):
        wanted: Dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
        opened = open_model(folder, wanted)
        part = opened.parts[TEXT]
        return FrozenText(
            opened.config.text,
            opened.tokenizer,
            opened.config.clean_prompts,
            part.signature(),
            lambda: part.load(wanted, split_over_all_devices()),
        )
    config, params, tokenizer = load_model(folder, SoraConfig)
    if tokenizer is None or TEXT not in params:
        raise ValueError(f"{folder} has no text encoder: name a whole model")
    return FrozenText(config.text, tokenizer, config.clean_prompts, signature(params[TEXT]), lambda: params[TEXT])
