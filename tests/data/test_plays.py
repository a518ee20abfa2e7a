"""Plays on disk: windows have the frames and actions of one clip, and prompts of its scene."""

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.plays import LATENTS, PLAYS, encode_frames, play_maker, prompts_of, read_plays, write_own
from sorajax.world.scenes import WorldMix, sample_scenes

CLIPS, FRAMES = 6, 10
PROMPTS = [f"game {number}" for number in range(CLIPS)]


@pytest.fixture
def folder(tmp_path):
    """A recorded game: latents are 100 * clip + frame, and actions the frames' numbers."""
    latent = 100.0 * np.arange(CLIPS)[:, None] + np.arange(FRAMES)
    np.save(tmp_path / LATENTS, latent.astype(np.float16)[..., None, None, None])
    actions = np.broadcast_to(np.arange(FRAMES), (CLIPS, FRAMES))
    np.savez(tmp_path / PLAYS, actions=actions, prompts=np.array(PROMPTS))
    return tmp_path


def numbers(prompts):
    """Tokens that are the prompts' last letters."""
    ids = np.array([[int(prompt[-1]) + 1] for prompt in prompts])
    return ids, ids > 0


def test_a_window_has_the_actions_and_the_prompt_of_its_clip(folder):
    make = play_maker(folder, numbers, dropout=0.0)
    batch = make(Bucket(5, batch_size=50), np.random.default_rng(0))
    frames = batch.latent[..., 0, 0, 0]
    assert batch.size == 50
    np.testing.assert_array_equal(np.diff(frames, axis=1), 1)
    np.testing.assert_array_equal(frames % 100, batch.actions)
    np.testing.assert_array_equal(frames[:, 0] // 100 + 1, batch.ids[:, 0])
    np.testing.assert_array_equal(batch.context, batch.latent)
    assert set(batch.actions[:, 0].tolist()) == set(range(FRAMES - 5 + 1))


def test_dropped_prompts_have_no_tokens(folder):
    make = play_maker(folder, numbers, dropout=0.25)
    batch = make(Bucket(5, batch_size=400), np.random.default_rng(0))
    assert 0.15 < np.mean(~batch.mask) < 0.35
    np.testing.assert_array_equal(batch.ids > 0, batch.mask)


def test_a_share_of_windows_is_read_after_the_models_own_frames(folder):
    plays = read_plays(folder)
    write_own(folder / "own.npy", plays, lambda part: part.latent + 1000, say=lambda text: None)
    write_own(folder / "own.npy", plays, None)  # it is there
    make = play_maker(folder, numbers, 0.0, own=folder / "own.npy", own_share=0.5)
    batch = make(Bucket(5, batch_size=400), np.random.default_rng(0))
    added = (batch.context - batch.latent)[..., 0, 0, 0]
    assert set(np.unique(added)) == {0, 1000}
    assert 0.4 < (added[:, 0] > 0).mean() < 0.6
    assert (np.ptp(added, axis=1) == 0).all()


def test_a_part_of_the_plays_is_read_and_their_prompts(folder, tmp_path):
    part = read_plays(folder, slice(-2, None))
    assert prompts_of(part.scene, np.random.default_rng(0)) == PROMPTS[-2:]
    assert part.latent[:, 0].ravel().tolist() == [400, 500]
    scenes = sample_scenes(np.random.default_rng(0), CLIPS, "train", WorldMix())
    assert len(prompts_of(scenes, np.random.default_rng(0))) == CLIPS
    with pytest.raises(FileNotFoundError, match="holds no encoded plays: add --encoded 3000"):
        read_plays(tmp_path / "nothing")


def test_the_frames_of_a_game_are_encoded_again(folder):
    frames = np.random.default_rng(0).integers(0, 256, (CLIPS, FRAMES, 8, 8, 3), np.uint8)
    np.save(folder / "frames.npy", frames)
    encode_frames(folder, lambda images: images[:, ::4, ::4], say=lambda text: None)
    np.testing.assert_allclose(read_plays(folder).latent, frames[:, :, ::4, ::4] / 127.5 - 1, atol=1e-3)
