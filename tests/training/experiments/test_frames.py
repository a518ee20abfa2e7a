"""A recorded game: an autoencoder learns its frames, and a model to play its actions; the last clips are not seen."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.data.plays import FRAMES, PLAYS, encode_frames
from sorajax.interactive.session import checked, open_player
from sorajax.models.folder import export_model
from sorajax.models.play import PlayConfig
from sorajax.training.experiments.frames import FrameTraining
from sorajax.training.experiments.play import PlayTraining
from tests.conftest import TINY
from tests.interactive.worlds import DIT, play_model

CLIPS = 20


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    """The folder of a game of frames that are as bright as the number of their clip, with five actions."""
    folder = tmp_path_factory.mktemp("game")
    frames = np.broadcast_to(np.arange(CLIPS, dtype=np.uint8)[:, None, None, None, None], (CLIPS, 6, 16, 16, 3))
    np.save(folder / FRAMES, frames)
    actions = np.arange(CLIPS * 6).reshape(CLIPS, 6) % 5
    np.savez(folder / PLAYS, actions=actions, prompts=np.full(CLIPS, "a red ball"))
    encode_frames(folder, lambda video: np.repeat(video[:, ::4, ::4, :1], 4, -1), say=lambda line: None)
    return folder


def test_an_autoencoder_learns_the_first_clips_and_is_validated_on_the_last(game, tmp_path):
    experiment = FrameTraining(TINY.vae, plays=game, batch_size=8, validation=2)
    stage, batches = experiment.build(tmp_path)
    batch = next(iter(batches))
    assert batch.pixels.shape == (8, 1, 16, 16, 3)
    assert batch.pixels.max() < CLIPS - 2
    assert [held.pixels.min() >= CLIPS - 2 for held in experiment.held_out(stage, tmp_path)] == [True] * 2
    assert stage.seen.max() < CLIPS - 2
    params = jax.eval_shape(stage.init, jax.random.key(0))
    assert jax.eval_shape(stage.loss, params, batch, jax.random.key(0))[0].shape == ()


def test_a_model_learns_the_first_plays_and_is_validated_on_the_last(game, tiny_model, tmp_path):
    model = PlayConfig(replace(DIT, actions=5), base=str(tiny_model), size=(16, 16), window=5)
    experiment = PlayTraining(model, plays=game, batch_size=4, validation=1)
    stage, batches = experiment.build(tmp_path)
    batch = next(iter(batches))
    bright = (batch.latent[:, 0, 0, 0, 0] + 1) * 127.5
    assert bright.max() < CLIPS - 4
    assert batch.actions.max() == 4
    (held,) = experiment.held_out(stage, tmp_path)
    assert ((held.latent + 1) * 127.5).min() > CLIPS - 4.5


@pytest.mark.parametrize(
    ("actions", "validation", "line"),
    [(4, 1, "has 5 actions and the model reads 4: add --model.dit.actions 5"), (5, 5, "20 are for validation: record")],
)
def test_what_a_model_cannot_learn_from_is_one_line(game, tiny_model, tmp_path, actions, validation, line):
    model = PlayConfig(replace(DIT, actions=actions), base=str(tiny_model), size=(16, 16), window=5)
    with pytest.raises(ValueError, match=line):
        PlayTraining(model, plays=game, batch_size=4, validation=validation).build(tmp_path)


def test_a_model_may_have_an_autoencoder_of_its_own(tiny_model, tmp_path):
    folder = play_model(tmp_path / "play", tiny_model)
    params = jax.tree.map(np.zeros_like, open_player(str(folder)).networks.vae)
    vae = export_model(tmp_path / "vae", {"vae": params}, TINY.vae)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"autoencoder": ""', f'"autoencoder": "{vae}"'))
    assert not any(leaf.any() for leaf in jax.tree.leaves(open_player(str(folder)).networks.vae))


def test_actions_of_another_game_are_numbers():
    assert checked([16], 1, 17).tolist() == [16]
    with pytest.raises(ValueError, match=r"action 17 is not allowed: use 0 to 16$"):
        checked([17], 1, 17)


def test_a_folder_without_a_game_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recorded game: run python"):
        FrameTraining(TINY.vae, plays=tmp_path).build(tmp_path)
