"""A tiny network of captions, and a batch of it."""

import numpy as np

from sorajax.data.captioned import CaptionedBatch
from sorajax.language.network import WordsConfig

CONFIG = WordsConfig(
    vocabulary=12,
    tokens=4,
    width=16,
    heads=2,
    head_width=8,
    hidden=16,
    encoder_depth=1,
    decoder_depth=1,
    channels=2,
    stem=4,
)


def batch(pairs=2):
    rng = np.random.default_rng(0)
    ids = lambda rows: rng.integers(1, 12, (rows, 4)).astype(np.int32)  # noqa: E731
    latent = rng.normal(size=(4, 2, 4, 4, 2)).astype(np.float16)
    return CaptionedBatch(latent, np.array([0, 1, 2, 2], np.int32), ids(4), ids(pairs), ids(pairs))
