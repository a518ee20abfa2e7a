"""PSNR is the definition; the autoencoder sees every clip once, whatever the batch; a folder of films is measured."""

import json

import jax
import numpy as np
import pytest

from sorajax.commands import evaluate
from sorajax.evaluation import reconstruction
from sorajax.evaluation.reconstruction import Autoencoder, Quality, evaluate_reconstruction, psnr, quality, table
from sorajax.models.folder import export_model
from sorajax.models.sora import init_vae
from sorajax.models.vae import VAEConfig
from sorajax.training import autoencoder
from sorajax.training.autoencoder import load_vae
from tests.data.videos.films import film, moving


def test_psnr_equals_the_formula():
    """A constant error of e in a range of 2 has 20 log10(2 / e) dB; equal clips are at the cap."""
    clip = np.zeros((2, 3, 4, 4, 3), np.float32)
    off = clip + np.array([0.02, 0.2], np.float32)[:, None, None, None, None]
    np.testing.assert_allclose(psnr(clip, off), [40, 20], atol=1e-3)
    assert (psnr(clip, clip) > 100).all()


def test_every_clip_is_returned_whatever_the_batch(monkeypatch):
    monkeypatch.setattr(reconstruction, "reconstructed", lambda config, params, video: video)
    autoencoder = Autoencoder(VAEConfig(), {}, batch=4)
    video = np.random.default_rng(0).uniform(-1, 1, (6, 1, 2, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(autoencoder(video), video)


def test_an_empty_evaluation_is_one_line():
    with pytest.raises(ValueError, match="0 clips cannot be evaluated"):
        evaluate_reconstruction(VAEConfig(), {}, num=0)


def test_quality_averages_clips_of_all_shapes():
    """Equal clips are perfect; an error that turns its sign flickers by twice its size; means are over clips."""
    clip = np.zeros((2, 3, 16, 16, 3), np.float32)
    sign = np.array([1, -1, 1], np.float32)[:, None, None, None]
    same, off = quality([(clip, clip)]), quality([(clip, clip), (clip[:1, :, :12], clip[:1, :, :12] + 0.02 * sign)])
    assert (same.ssim, same.flicker, same.num) == (1, 0, 2)
    assert (off.worst, off.num) == (pytest.approx(40, abs=1e-3), 3)
    assert off.flicker == pytest.approx(0.04 / 3, rel=1e-4)
    assert off.psnr == pytest.approx((2 * same.psnr + 40) / 3)
    assert off.ssim < 1
    assert table({"seen": Quality(31.234, 20, 0.9, 0.0123, 4)}).splitlines()[1].split() == [
        "seen",
        "31.23",
        "20.00",
        "0.9000",
        "0.01230",
        "4",
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of an autoencoder by itself."""
    config = VAEConfig(base=4, multipliers=(1, 1), strides=((2, 2),), residual_blocks=1, latent_channels=4)
    rng, shapes = np.random.default_rng(0), jax.eval_shape(lambda key: init_vae(config, key), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0.1, 0.2, leaf.shape).astype(np.float32), shapes)
    return export_model(tmp_path_factory.mktemp("alone"), {"vae": params}, config)


@pytest.mark.slow
def test_large_clips_are_streamed_with_equal_results(alone, monkeypatch):
    config, params = load_vae(alone)
    video = np.random.default_rng(0).uniform(-1, 1, (1, 5, 8, 8, 3)).astype(np.float32)
    whole = Autoencoder(config, params, batch=1)(video)
    monkeypatch.setattr(autoencoder, "WHOLE", 0)
    np.testing.assert_allclose(Autoencoder(config, params, batch=2)(video), whole, atol=1e-4)


def test_a_folder_of_videos_is_measured(alone, tmp_path, capsys):
    films, figures = tmp_path / "films", tmp_path / "figures.json"
    films.mkdir()
    for seed in range(2):
        film(films / f"{seed}.mp4", moving(seed, 12))
    film(films / "short.mp4", moving(2, 2))
    (films / "junk.mp4").write_bytes(b"junk")
    said = ["reconstruction", "--model", str(alone), "--folder", str(films), "--json", str(figures)]
    assert evaluate.main([*said, "--frames", "5", "--size", "24", "16"]) == 0
    out = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["num"] == 2
    assert {"psnr", "worst", "ssim", "flicker"} < found.keys()
    assert len(found["left_out"]) == 2
    assert out.count("left out: ") == 2
    assert evaluate.main([*said, "--frames", "21"]) == 1
    assert "has no clip of 21 frames" in capsys.readouterr().err
    assert evaluate.main([*said, "--frames", "4"]) == 1
    assert "4 frames cannot be encoded" in capsys.readouterr().err
