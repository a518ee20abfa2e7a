"""A frozen text encoder is that of a whole model, and its embeddings are as long as their captions."""

import numpy as np
import pytest

from sorajax.models.folder import export_model, load_model
from sorajax.models.sora import SoraConfig
from sorajax.training.frozen import open_text
from tests.conftest import TINY, tiny_tokenizer


def test_an_embedding_is_as_long_as_its_caption(tiny_model):
    frozen = open_text(tiny_model)
    assert (frozen.config, frozen.tokenizer) == (TINY.text, tiny_tokenizer())
    embed = frozen.embed()
    short, long = embed(["a red ball", "a red ball bounces on the grey floor"])
    assert (short.shape, long.shape) == ((3, 8), (8, 8))
    np.testing.assert_allclose(embed(["a red ball", "a red ball"])[1], short, atol=1e-6)
    assert not np.allclose(long[:3], short)  # every token sees the others


def test_a_model_without_a_text_encoder_is_named(tiny_model, tmp_path):
    params = load_model(tiny_model, SoraConfig)[1]
    folder = export_model(tmp_path, {name: params[name] for name in ("dit", "vae")}, TINY)
    with pytest.raises(ValueError, match="has no text encoder: name a whole model"):
        open_text(folder)
