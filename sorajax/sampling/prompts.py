"""The text encoder in use: it encodes each prompt once, and its contexts are cached."""

from collections.abc import Iterable
from functools import partial

import numpy as np
from jaxtyping import Float

from sorajax.devices.residency import Parts
from sorajax.devices.sharding import to_host
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.sampling.program import Programs, encode_text
from sorajax.sampling.settings import tokenize

MAX_CONTEXTS = 64
"""Prompts whose context is cached."""


class Prompts:
    """A model's text encoder and a cache of contexts."""

    def __init__(self, config: SoraConfig, params: Parts, tokenizer: Tokenizer, programs: Programs):
        self.config, self.params, self.tokenizer, self.programs = config, params, tokenizer, programs
        self.contexts: dict[str, Float[np.ndarray, "m e"]] = {}
        self.originals: dict[str, str] = {}
        """Expanded prompt -> the prompt as typed."""

    def encode(self, prompts: Iterable[str]) -> None:
        """Caches the contexts of all prompts of a request, before other parts of the model are loaded. If there are
        more than `MAX_CONTEXTS`, the oldest ones of other requests are dropped."""
        current = dict.fromkeys(prompts)
        for prompt in current:
            self.context(prompt)
        others = [prompt for prompt in self.contexts if prompt not in current]
        for prompt in others[: max(0, len(self.contexts) - MAX_CONTEXTS)]:
            del self.contexts[prompt]

    def context(self, prompt: str) -> Float[np.ndarray, "m e"]:
        """The text encoder's output for a prompt."""
        if prompt not in self.contexts:
            ids, mask = tokenize(self.tokenizer, self.config, [prompt], cut=True)
            encode = partial(encode_text, self.config.text)
            self.contexts[prompt] = to_host(self.programs("text", encode, self.params["text"], ids, mask))[0]
        return self.contexts[prompt]

    def original(self, prompt: str) -> dict[str, str]:
        """The prompt as typed of an expanded one, for the metadata; empty for other prompts."""
        return {"original_prompt": self.originals[prompt]} if prompt in self.originals else {}
