"""Batches of encoded clips with captions: where clips come from, and what their captions say."""

import json

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.captioned import REGISTERS, captioned_maker, captions_in, source_of
from sorajax.data.decoded import write_decoded
from sorajax.world.grammar import facts, stated
from sorajax.world.prompts import attributes_of
from sorajax.world.scenes import WorldMix, attributes, sample_scenes

TEXTS: list[str] = []


def encode(texts):
    """Captions as their numbers in TEXTS."""
    TEXTS.extend(texts)
    return np.arange(len(TEXTS) - len(texts), len(TEXTS))[:, None] + 1, None


def scenes(count=40, **mix):
    return sample_scenes(np.random.default_rng(0), count, "train", WorldMix(**mix))


@pytest.fixture
def folder(tmp_path):
    """Encoded clips of two lengths, of which each latent frame is its number."""
    for name, frames in (("17x64x64", 5), ("33x64x64", 9)):
        latent = np.broadcast_to(np.arange(frames)[None, :, None, None, None], (40, frames, 8, 8, 2))
        np.save(tmp_path / f"{name}.npy", latent.astype(np.float16))
        np.savez(tmp_path / f"{name}.npz", **scenes(two_shots=0.5, wall=0.5)._asdict())
    (tmp_path / "latents.json").write_text(json.dumps({"made_by": "me", "clips": {"17x64x64": 40, "33x64x64": 40}}))
    return tmp_path


@pytest.mark.parametrize(("frames", "source"), [(1, "17x64x64"), (17, "17x64x64"), (25, "33x64x64"), (33, "33x64x64")])
def test_a_bucket_takes_its_clips_from_the_shortest_that_are_long_enough(frames, source):
    assert source_of(Bucket(frames, 64, 64), ["33x64x64", "17x64x64", "65x64x96"]) == source


def test_what_is_not_encoded_is_named():
    with pytest.raises(ValueError, match="no clips of 17x96x64"):
        source_of(Bucket(17, 96, 64), ["17x64x64"])


def test_clips_are_cut_and_short_ones_show_all_that_they_say(folder):
    buckets = Bucket(9, 64, 64, batch_size=16), Bucket(25, 64, 64, batch_size=4)
    make = captioned_maker(folder, buckets, (0, 0, 1), encode, "me")
    for bucket, frames in zip(buckets, (3, 7), strict=True):
        batch = make(bucket, np.random.default_rng(0))
        assert batch.latent.shape == (bucket.batch_size, frames, 8, 8, 2)
        assert np.array_equal(batch.latent[0, :, 0, 0, 0], np.arange(frames))
        assert len(batch.short) == len(batch.long) == bucket.batch_size // 2
    said = [attributes_of(TEXTS[number - 1]) for number in make(buckets[0], np.random.default_rng(1)).ids[:, 0]]
    assert all(len(words["shots"]) == 1 and words["event"] == "none" for words in said)


def test_a_share_of_clips_is_decoded_and_keeps_its_captions(folder):
    """Decoded clips are those that were rendered, 100 higher."""
    write_decoded(folder, 20, lambda latent, scene, rng: latent + 100, {"by": "me"}, say=lambda _: None)
    buckets = Bucket(17, 64, 64, batch_size=256), Bucket(9, 64, 64, batch_size=16)
    make = captioned_maker(folder, buckets, (0, 0, 1), encode, "me", pairs=False, decoded=0.25)
    batch = make(buckets[0], np.random.default_rng(0))
    decoded = batch.latent[:, 0, 0, 0, 0] >= 100
    assert 0.15 < decoded.mean() < 0.35
    words = [facts(words) for words in attributes(scenes(two_shots=0.5, wall=0.5))]
    said = [facts(attributes_of(TEXTS[number - 1])) for number in batch.ids[:, 0]]
    assert all(one in words[:20] for one in np.array(said)[decoded])
    assert any(one not in words[:20] for one in np.array(said)[~decoded])
    short = make(buckets[1], np.random.default_rng(0)).latent[:, :, 0, 0, 0]
    assert short.shape == (16, 3)
    assert np.array_equal(np.unique(short % 100), [0, 1, 2])


def test_a_share_of_decoded_clips_needs_some(folder):
    with pytest.raises(FileNotFoundError, match="add --decoding"):
        captioned_maker(folder, (Bucket(),), (0, 0, 1), encode, "me", decoded=0.5)


def test_another_autoencoder_is_refused(folder):
    with pytest.raises(ValueError, match="another autoencoder"):
        captioned_maker(folder, (Bucket(),), (0, 0, 1), encode, "you")


def test_captions_are_of_their_clips_and_registers():
    scene = scenes()
    register, ids = captions_in(scene, np.random.default_rng(0), (0.3, 0.3, 0.4), encode)
    assert set(register) == {0, 1, 2}
    for number, text_id, words in zip(register, ids[:, 0], attributes(scene), strict=True):
        text = TEXTS[text_id - 1]
        assert facts(stated(text)).items() <= facts(words).items()
        if REGISTERS[number] == "canonical":
            assert facts(attributes_of(text)) == facts(words)


def test_captions_of_stills_say_nothing_that_moves():
    scene = scenes(two_shots=0.5, wall=0.3, camera=0.5)
    register, ids = captions_in(scene, np.random.default_rng(0), (0.2, 0.3, 0.5), encode, still=True)
    assert set(register) == {0, 1}
    for number in ids[:, 0]:
        words = stated(TEXTS[number - 1])
        assert len(words["shots"]) == 1
        assert words["camera"] is words["event"] is words["shots"][0]["objects"][0]["motion"] is None
