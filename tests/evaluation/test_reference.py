"""The reference implementations compute what ours do on the same weights, and nothing that differs is timed."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from functools import partial

import numpy as np
import pytest

from sorajax.evaluation import reference
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
pytest.importorskip("diffusers", reason="the parity extra is not installed")
pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

DIT = DiTConfig(
    width=24, hidden=40, depth=2, heads=2, in_channels=4, out_channels=6, text_width=8, frequencies=8, remat="none"
)
VAE = VAEConfig(base=4, multipliers=(1, 2, 2), strides=((1, 2), (2, 2)), residual_blocks=1, latent_channels=4)
VAE22 = VAEConfig(
    base=4,
    decoder_base=8,
    multipliers=(1, 2, 2),
    strides=((1, 2), (2, 2)),
    residual_blocks=1,
    latent_channels=4,
    shortcuts=True,
    pixel_patch=2,
    mean=(0.1, -0.2, 0.3, 0.0),
    std=(1.0, 2.0, 0.5, 1.5),
)
TEXT = TextConfig(vocabulary=40, width=24, hidden=40, depth=2, heads=3, head_width=8, tokens=12)
TINY = {
    "dit": partial(reference.transformer, DIT, clips=2, latent=(3, 4, 6), tokens=5),
    "vae": partial(reference.autoencoder, VAE, size=(5, 16, 8)),
    "vae22": partial(reference.autoencoder, VAE22, size=(5, 16, 16)),
    "text": partial(reference.text_encoder, TEXT, prompts=2),
}


@pytest.mark.parametrize("part", TINY)
def test_ours_and_the_reference_compute_the_same(part, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)  # nothing here needs a C++ compiler
    for name, call in TINY[part]().items():
        found = reference.compare(name, call, repeats=1)
        assert 0 < found["difference"] < 1e-4
        assert found["failure"] is None
        assert found["ratio"] * found["ours"] == pytest.approx(min(found["eager"], found["compiled"]))


def call(ours=1.0, compiled=lambda: None):
    theirs = {"x": torch.tensor([1.0, 2.0])}
    return reference.Call(lambda: ours, lambda: theirs, compiled, lambda made: {"x": np.array([made, 2.0])})


def test_a_result_that_differs_is_not_timed():
    with pytest.raises(RuntimeError, match=r"encode: ours and theirs differ by 5.0e-01, more than 0.001"):
        reference.compare("encode", call(ours=2.0), repeats=1)


def test_a_reference_that_cannot_be_compiled_is_marked():
    def compiled():
        raise OSError("no C++ compiler")

    found = reference.compare("encode", call(compiled=compiled), repeats=1)
    assert (found["compiled"], found["failure"]) == (None, "torch.compile failed: OSError")
    assert found["ratio"] * found["ours"] == pytest.approx(found["eager"])
    eager = reference.compare("encode", call(compiled=compiled), repeats=1, eager=True)
    assert (eager["compiled"], eager["failure"]) == (None, None)


def test_a_reference_with_other_weights_is_refused():
    params = reference.random_parameters(partial(reference.init_text, TEXT))
    rows = [row for row in reference.text_table(TEXT) if row.ours != "norm_out/scale"]
    del params["norm_out"]
    model = reference.reference_text_encoder(TEXT, reference.random_parameters(partial(reference.init_text, TEXT)))
    with pytest.raises(RuntimeError, match=r"do not have the same weights: encoder.final_layer_norm.weight"):
        reference.with_weights(model, rows, params)
