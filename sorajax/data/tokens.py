"""The tokenizer of the world: a small byte-level BPE (Sennrich et al. 2016), trained on captions."""

from collections.abc import Iterable

import numpy as np

from sorajax.world.captions import corpus

PADDING = "<pad>"


def train_tokenizer(prompts: Iterable[str], vocabulary: int = 768) -> str:
    """A trained tokenizer as JSON text of the `tokenizers` library. Id 0 is padding, text is lower-cased, and every
    byte has a token, so there are no unknown words. Raises ValueError where `vocabulary` is smaller than the
    alphabet."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + 1:
        raise ValueError(f"a vocabulary of {vocabulary} cannot hold all bytes: use {len(alphabet) + 1} or more")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PADDING],
        initial_alphabet=sorted(alphabet),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(prompts, trainer)
    return tokenizer.to_str()


def world_tokenizer(vocabulary: int = 768, captions: int = 5_000, seed: int = 0) -> str:
    """The tokenizer trained on `captions` captions of the world."""
    return train_tokenizer(corpus(np.random.default_rng(seed), captions), vocabulary)
