"""A game is recorded: its clips and actions agree with the game, whatever trains on plays trains on them."""

import numpy as np
import pytest

pytest.importorskip("craftax")

from sorajax.data.craftax import ACTIONS, PROMPT, held_actions, padded, record
from sorajax.data.plays import encode_frames, read_plays
from sorajax.evaluation.craftax import compared, reader, tiles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("craftax")
    record(path, 20, 5, seed=0, say=lambda line: None)
    return path


def test_a_recording_has_frames_actions_and_latents(folder):
    encode_frames(folder, lambda frames: frames[:, ::8, ::8], say=lambda line: None)
    plays = read_plays(folder, slice(-4, None))
    frames = np.load(folder / "frames.npy")
    assert frames.shape == (20, 5, 64, 64, 3)
    assert not frames[:, :, 63].any()
    assert not frames[:, :, :, 63].any()
    assert plays.actions.shape == (4, 5)
    assert plays.scene.tolist() == [PROMPT] * 4
    np.testing.assert_allclose(plays.latent, frames[-4:, :, ::8, ::8] / 127.5 - 1, atol=1e-3)


def test_clips_go_on_and_moves_move_the_map(folder):
    """Where the player walks left, most of the next frame is the frame before, a tile to the right."""
    frames, actions = np.load(folder / "frames.npy").astype(int), np.load(folder / "plays.npz")["actions"]
    moved = [
        (np.abs(after[:49, 7:63] - before[:49, :56]).mean(), np.abs(after[:49, :63] - before[:49, :63]).mean())
        for clip, keys in zip(frames, actions, strict=True)
        for before, after, key in zip(clip, clip[1:], keys[1:], strict=False)
        if key == ACTIONS.index("left")
    ]
    assert len(moved) > 3
    assert any(shifted < still for shifted, still in moved)
    assert np.median(np.abs(np.diff(frames, axis=1)).mean((2, 3, 4))) < 60


def test_the_reader_reads_the_game_and_not_noise(folder):
    frames, read = np.load(folder / "frames.npy")[:, -1], reader()
    found = compared(read, frames, np.load(folder / "frames.npy")[:, 0], frames)
    assert found["tiles"] == found["cells"] == found["changed tiles"] == 1
    first = read(frames)
    assert first.tiles.shape == (20, 62)
    assert len(np.unique(first.tiles)) > 2
    assert first.cells[:, :4].min() > 2
    assert not first.cells[:, 4].all()
    noise = np.random.default_rng(0).integers(0, 255, frames.shape, np.uint8)
    assert compared(read, noise, frames, frames)["tiles"] < 0.7


def test_actions_are_held_and_pictures_are_padded():
    actions = held_actions(np.random.default_rng(0), 50, 200)
    assert set(np.unique(actions)) == set(range(len(ACTIONS)))
    assert 0.5 < np.mean(actions[:, 1:] == actions[:, :-1]) < 0.9
    frame = padded(np.ones((63, 63, 3)))
    assert frame.shape == (64, 64, 3)
    assert tiles(frame[None], 0, 7).min() == 255
