"""The expander of prompts: from a short prompt of the world to a detailed one, by the captioner's network.

The network draws several detailed prompts; the first that keeps all that was said is taken. What was said is read by
the world's grammar (`world.grammar`), which only rejects: every word is the network's.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sorajax.errors import note
from sorajax.language.captioner import Writer, open_writer, sentences
from sorajax.language.network import Memory
from sorajax.world.grammar import completed, facts, stated

CANDIDATES, ROUNDS = 8, 4
"""Prompts drawn at a time, and how often."""


class Expander:
    """A writer of detailed prompts; the same prompt and seed have the same one."""

    def __init__(self, writer: Writer):
        self.writer = writer

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """The prompt with every attribute; or itself, with a `Note`, where it is outside the world's grammar."""
        said = stated(prompt)
        if said is None:
            note(f"the prompt {prompt!r} has words that the expander does not know: it stays as it is")
            return prompt
        for turn in range(ROUNDS):
            for text in self.drawn(prompt, seed + turn * 2**20):
                if keeps(text, said):
                    return sentences(text)
        note(f"no expansion of the prompt {prompt!r} kept all that it says: it stays as it is")
        return prompt

    def drawn(self, prompt: str, seed: int) -> list[str]:
        """Candidates, in lower case."""
        ids, mask = self.writer.tokenizer.encode([prompt], cut=True)
        memory = self.writer.read_prompt(ids, mask)
        several: Memory = jax.tree.map(lambda leaf: jnp.repeat(leaf, CANDIDATES, 0), memory)
        return self.writer.write(several, "detailed", seed, temperature=1.0)[0]


def keeps(text: str, said: Mapping[str, Any]) -> bool:
    """Whether a detailed prompt keeps all that the short one states, with as many objects and shots."""
    found = stated(text)
    if found is None or shape_of(found) != shape_of(said):
        return False
    whole = facts(completed(found))
    return all(whole.get(name) == value for name, value in facts(said).items())


def shape_of(words: Mapping[str, Any]) -> list[int]:
    """The number of objects in each shot."""
    return [len(shot["objects"]) for shot in words["shots"]]


@lru_cache(maxsize=1)
def open_expander(model: str | Path = "world") -> Expander:
    """The expander of the package, or of a run of configs/captioner.py. Raises FileNotFoundError and ValueError."""
    return Expander(open_writer(model))
