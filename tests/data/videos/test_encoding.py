"""Prepared clips are encoded once each, and duplicates not at all."""

import numpy as np
import pytest

from sorajax.data.records import decode_frames
from sorajax.data.videos import preparation
from sorajax.data.videos.encoding import encode_clips, encoded_records
from sorajax.data.videos.preparation import prepare, prepared_records
from tests.data.videos.films import film, moving
from tests.data.videos.test_preparation import BUCKETS, SETTINGS, in_turn


def encode(video):
    """Means over 4x4 pixels of every fourth frame."""
    b, _, h, w, c = video.shape
    return video[:, ::4].reshape(b, -1, h // 4, 4, w // 4, 4, c).mean((3, 5))


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Clips of four films, of which one is a double."""
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    videos = tmp_path / "videos"
    videos.mkdir()
    for number, seed in enumerate((0, 1, 2, 0)):
        film(videos / f"{number}.mp4", moving(seed, 18))
    prepare(videos, tmp_path / "prepared", SETTINGS, say=lambda text: None)
    return tmp_path / "prepared"


def test_latents_are_those_of_the_clips_and_encoded_once(prepared):
    said = []
    target = encode_clips(prepared, lambda: encode, "me", said.append)
    assert said
    latents, paths = encoded_records(prepared, "me", BUCKETS[1])
    clips, same = prepared_records(prepared, BUCKETS[1])
    assert sorted(paths) == sorted(same)
    for i in range(len(latents)):
        pixels = next(
            clips[j]
            for j in range(len(clips))
            if (clips[j]["path"], clips[j]["start"]) == (latents[i]["path"], latents[i]["start"])
        )
        expected = encode(decode_frames(pixels["pixels"])[None].astype(np.float32) / 127.5 - 1)[0]
        np.testing.assert_allclose(latents[i]["latent"], expected, atol=2e-3)
    images, _ = encoded_records(prepared, "me", BUCKETS[2])
    assert len(images) >= len(latents)  # every film's first frame is an image

    gone = sorted(target.glob("*.json"))[0]
    gone.unlink()
    with pytest.raises(FileNotFoundError, match="not complete"):
        encoded_records(prepared, "me", BUCKETS[1])
    encode_clips(prepared, lambda: encode, "me", said.append)
    again, _ = encoded_records(prepared, "me", BUCKETS[1])
    assert [again[i]["start"] for i in range(len(again))] == [latents[i]["start"] for i in range(len(latents))]


def test_an_encoder_may_return_further_inputs_and_is_not_opened_again(prepared):
    def encode_both(video):
        return {"latent": encode(video), "image": video[:, 0, 0, 0]}

    encode_clips(prepared, lambda: encode_both, "both", say=lambda text: None)
    records, _ = encoded_records(prepared, "both", BUCKETS[1])
    assert records[0]["image"].shape == (3,)
    encode_clips(prepared, None, "both", say=lambda text: None)
    with pytest.raises(FileNotFoundError, match=r"other is not complete: encode with python -m sorajax\.encode first"):
        encoded_records(prepared, "other", BUCKETS[1])
