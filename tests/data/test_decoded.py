"""Encoded clips that are decoded and encoded again: once, in one way, and as many as asked for."""

import json

import numpy as np
import pytest

from sorajax.data.decoded import decoded_rows, write_decoded
from sorajax.world.scenes import WorldMix, sample_scenes


@pytest.fixture
def folder(tmp_path):
    """40 encoded clips of each of two sizes; each latent is its clip's number."""
    for name in ("17x64x64", "33x64x64"):
        np.save(tmp_path / f"{name}.npy", np.arange(40, dtype=np.float16).reshape(40, 1, 1, 1, 1))
        np.savez(tmp_path / f"{name}.npz", **sample_scenes(np.random.default_rng(0), 40, "train", WorldMix())._asdict())
    (tmp_path / "latents.json").write_text(json.dumps({"made_by": "me", "clips": {"17x64x64": 40, "33x64x64": 40}}))
    return tmp_path


def test_clips_are_decoded_once_and_in_one_way(folder):
    calls = []

    def again(latent, scene, rng):
        calls.append(len(latent))
        return latent

    for count in (40, 10):
        write_decoded(folder, count, again, {"by": "me"}, say=lambda _: None)
    assert calls == [32, 8, 32, 8]
    with pytest.raises(ValueError, match="decoded otherwise"):
        write_decoded(folder, 40, again, {"by": "you"}, say=lambda _: None)


def test_rows_are_those_of_the_clips_in_order(folder):
    def again(latent, scene, rng):
        assert len(scene.colour) == len(latent)
        return latent + 100

    index = json.loads((folder / "latents.json").read_text())
    index["clips"]["33x64x64"] = 20
    (folder / "latents.json").write_text(json.dumps(index))
    write_decoded(folder, 10, again, {"by": "me"}, say=lambda _: None)
    assert decoded_rows(folder, "17x64x64").ravel().tolist() == list(range(100, 110))
    assert decoded_rows(folder, "33x64x64").ravel().tolist() == list(range(100, 105)), "in proportion"
    with pytest.raises(FileNotFoundError, match="has no decoded clips of 5x64x64: add --decoding"):
        decoded_rows(folder, "5x64x64")
