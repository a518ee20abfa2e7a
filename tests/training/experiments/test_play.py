"""Plays are encoded, a trained model goes on with them, and its frames are the context of windows."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from sorajax.data.plays import read_plays
from sorajax.interactive.session import after, following, open_player, played_on
from sorajax.models.play import PlayConfig
from sorajax.models.text import TextEncoder
from sorajax.models.velocity import read_once
from sorajax.training.experiments.play import PlayTraining
from tests.interactive.worlds import DIT, play_model

FRAMES = 8


@pytest.fixture(scope="module")
def experiment(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plays")
    own = play_model(folder / "model", tiny_model, window=5)
    config = PlayConfig(DIT, base=str(tiny_model), size=(16, 16), window=5)
    return PlayTraining(
        config, plays=folder / "plays", encoded=4, play_frames=FRAMES, batch_size=8, own=own, own_share=1.0
    )


@pytest.fixture(scope="module")
def built(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    stage, batches = experiment.build(folder)
    return folder, stage, next(iter(batches))


def test_the_first_frames_are_true_and_the_others_the_models_own(experiment, built):
    own, true = np.load(next(built[0].glob("own-*.npy"))), read_plays(experiment.plays).latent
    known = experiment.model.window - 1
    np.testing.assert_array_equal(own[:, :known], true[:, :known])
    assert (np.abs(own[:, known:] - true[:, known:]).mean((2, 3, 4)) > 0.01).all()


def test_windows_have_the_true_frames_as_data_and_the_own_as_context(experiment, built):
    own, plays, batch = np.load(next(built[0].glob("own-*.npy"))), read_plays(experiment.plays), built[2]
    windows = [(row, slice(first, first + 5)) for row in range(4) for first in range(FRAMES - 4)]
    for latent, context, actions in zip(batch.latent, batch.context, batch.actions, strict=True):
        (window,) = [one for one in windows if np.array_equal(own[one], context)]
        np.testing.assert_array_equal(latent, plays.latent[window])
        np.testing.assert_array_equal(actions, plays.actions[window])


def test_known_frames_are_those_of_the_context(built):
    _, stage, batch = built
    params, key = jax.jit(stage.init)(jax.random.key(0)), jax.random.key(1)
    stage = stage.replace(objective=replace(stage.objective, single=1.0, whole=0.0))
    params["dit"] = jax.tree.map(lambda leaf: leaf + 0.05, params["dit"])  # new ones do not attend
    loss = jax.jit(type(stage).loss)
    found, others = loss(stage, params, batch, key)[0], np.array(batch.latent)
    others[:, :-1] = 0
    assert loss(stage, params, batch.replace(latent=others), key)[0] == pytest.approx(float(found))
    assert loss(stage, params, batch.replace(context=others), key)[0] != pytest.approx(float(found))


@pytest.mark.slow
@pytest.mark.parametrize("attended", [0, 3], ids=["both ways", "causal"])
def test_a_play_goes_on_as_step_by_step(tiny_model, tmp_path, attended):
    world = open_player(str(play_model(tmp_path / "model", tiny_model, replace(DIT, attended_frames=attended))))
    rng, key = np.random.default_rng(0), jax.random.key(3)
    latent = rng.normal(size=(2, 6, *world.base.vae.latent_shape(1, 16, 16)[1:])).astype(np.float32)
    actions = rng.integers(0, 4, (2, 6))
    ids, mask = world.tokenizer.encode(["a red ball", "a blue box on white"])
    found = played_on(world.config, world.base, world.networks, ids, mask, latent, actions, key)
    context = TextEncoder(world.base.text).apply({"params": world.networks.text}, ids, mask)
    text = read_once(world.config.dit, {"params": world.networks.dit}, context, None)
    state = after(world.config, world.networks, text, latent[:, :3], actions[:, :3], key)
    for step in range(3, 6):
        state, _ = following(world.config, world.base, world.networks, state, actions[:, step])
        np.testing.assert_allclose(found[:, step], state.latent[:, -1], atol=1e-4)


def test_a_model_of_another_window_is_refused(experiment, tmp_path):
    other = replace(experiment, model=replace(experiment.model, window=9))
    with pytest.raises(ValueError, match="has a window of 5 frames, this training one of 9"):
        other.build(tmp_path)


def test_the_simulator_is_no_model(experiment, tmp_path):
    with pytest.raises(ValueError, match="own true is not allowed"):
        replace(experiment, own=Path("true")).build(tmp_path)
