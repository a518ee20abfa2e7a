"""Prompts to context: the text encoder is asked once for each, and its answers are kept."""

from collections.abc import Iterable
from functools import partial

from jaxtyping import Array, Float

from sorajax.devices.residency import Parts
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.sampling.program import Programs, encode_text
from sorajax.sampling.settings import encoded

MOST = 64
"""Prompts whose context is kept."""


class Prompts:
    """The contexts of prompts, on the device."""

    def __init__(self, config: SoraConfig, params: Parts, tokenizer: Tokenizer, programs: Programs):
        self.config, self.params, self.tokenizer, self.programs = config, params, tokenizer, programs
        self.contexts: dict[str, Float[Array, "m e"]] = {}

    def encode(self, prompts: Iterable[str]) -> None:
        """Brings the contexts of all prompts of a request to the device, before anything else is there. Those of other
        requests leave where there are too many."""
        wanted = dict.fromkeys(prompts)
        for prompt in wanted:
            self.context(prompt)
        others = [prompt for prompt in self.contexts if prompt not in wanted]
        for prompt in others[: max(0, len(self.contexts) - MOST)]:
            del self.contexts[prompt]

    def context(self, prompt: str) -> Float[Array, "m e"]:
        """What the text encoder makes of a prompt."""
        if prompt not in self.contexts:
            ids, mask = encoded(self.tokenizer, self.config, [prompt], cut=True)
            encode = partial(encode_text, self.config.text)
            self.contexts[prompt] = self.programs("text", encode, self.params["text"], ids, mask)[0]
        return self.contexts[prompt]
