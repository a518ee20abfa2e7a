"""Cached latents are what the encoder makes of the rendered scenes; captions are drawn anew."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.latents import INDEX, latent_maker, write_latents
from sorajax.data.worlds import WorldData, clips, scene_maker
from sorajax.world.scenes import CORE

BUCKET = Bucket(5, 16, 16, batch_size=4)
DATA = WorldData(buckets=(BUCKET,), mix=CORE, dropout=0.25)


def encode(video):
    """Means over 4x4 pixels: as good an encoder as any here."""
    b, t, h, w, c = video.shape
    return video.reshape(b, t, h // 4, 4, w // 4, 4, c).mean((3, 5))


def lengths(prompts):
    """Tokens that are the lengths of the prompts' words."""
    ids = np.zeros((len(prompts), 64), np.int32)
    for row, prompt in enumerate(prompts):
        words = prompt.split()
        ids[row, : len(words)] = [len(word) for word in words]
    return ids, ids > 0


def test_latents_are_those_of_the_rendered_scenes(tmp_path):
    write_latents(tmp_path, DATA, 6, encode, "me", say=lambda text: None)
    rows = np.load(tmp_path / "5x16x16.npy")
    expected = encode(np.asarray(jax.jit(clips)(scene_maker(DATA)(BUCKET, np.random.default_rng((0, 0, 0))))))
    np.testing.assert_allclose(rows[:4], expected, atol=2e-3)
    assert rows.shape == (6, 5, 4, 4, 3)

    make = latent_maker(tmp_path, DATA, lengths, "me")
    batches = [make(BUCKET, np.random.default_rng(seed)) for seed in range(20)]
    for batch in batches:
        assert all((rows == latent).all((1, 2, 3, 4)).any() for latent in batch.latent)
    dropped = np.mean([not row.any() for batch in batches for row in batch.mask])
    assert 0.1 < dropped < 0.45
    assert len({batch.ids.tobytes() for batch in batches}) == 20


def test_each_bucket_has_as_many_clips_as_training_draws(tmp_path):
    wide = Bucket(5, 16, 32, batch_size=2, weight=0.5)
    write_latents(tmp_path, replace(DATA, buckets=(wide, BUCKET)), 10, encode, "me", say=lambda text: None)
    assert json.loads((tmp_path / INDEX).read_text())["clips"] == {"5x16x32": 3, "5x16x16": 10}  # 1 to 4, rounded up
    assert [len(np.load(tmp_path / f"{stem}.npy")) for stem in ("5x16x32", "5x16x16")] == [3, 10]


def test_a_finished_folder_is_kept_and_one_of_another_request_refused(tmp_path):
    write_latents(tmp_path, DATA, 4, encode, "me", say=lambda text: None)
    write_latents(tmp_path, DATA, 4, None, "me")  # nothing to encode
    with pytest.raises(ValueError, match="another autoencoder"):
        write_latents(tmp_path, DATA, 4, encode, "you")
    with pytest.raises(ValueError, match="another autoencoder"):
        latent_maker(tmp_path, DATA, lengths, "you")
    with pytest.raises(ValueError, match="has no 1x16x16 clips"):
        latent_maker(tmp_path, WorldData(buckets=(Bucket(1, 16, 16),)), lengths, "me")
    assert json.loads((tmp_path / INDEX).read_text())["clips"] == {"5x16x16": 4}
    with pytest.raises(FileNotFoundError, match="--encoded"):
        latent_maker(tmp_path / "empty", DATA, lengths, "me")
