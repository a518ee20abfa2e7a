"""Learning from a reward: clips of a prompt are compared with each other, and rewarded ones become likelier."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.devices.sharding import make_mesh, place_batch, shardings
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.training.experiments.reward import RewardTraining
from sorajax.training.objectives.reward import RewardObjective, RewardStage
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update
from tests.conftest import TINY

BUCKET = Bucket(5, 16, 16, batch_size=4)
STEPS = 30
CONFIG = OptimizerConfig(learning_rate=2e-3, warmup=1, schedule="constant", weight_decay=0.0)
OBJECTIVE = RewardObjective(group=8, steps=2, kl=0.0)
LATENT = np.random.default_rng(0).standard_normal((4, 2, 4, 4, 4), np.float32)
IDS = np.array([[1, 4, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]] * 4, np.int32)
BATCH = WorldBatch(latent=LATENT, ids=IDS, mask=IDS > 0, bucket=BUCKET)
BRIGHTNESS = f"{__name__}:brightness"
seen: list[str] = []


def brightness(videos, prompts):
    seen.extend(prompts)
    return videos.mean((1, 2, 3, 4)) / 255


def training_of(model, **changes):
    values = {"reward": BRIGHTNESS, "known": 0.0, "data": WorldData(buckets=(BUCKET,)), "objective": OBJECTIVE}
    return RewardTraining(model=model, **values | changes)


@pytest.fixture(scope="module")
def stage(tiny_model, tmp_path_factory) -> RewardStage:
    return training_of(tiny_model).build(tmp_path_factory.mktemp("reward"))[0]


def trained(stage, steps, key=1):
    optimizer = make_optimizer(CONFIG, steps)
    state = make_begin(optimizer, stage)(stage.init(jax.random.key(0)))
    update = jax.jit(make_update(optimizer, CONFIG))
    for _ in range(steps):
        state, metrics = update(state, stage, BATCH, jax.random.key(key), 1.0)
        assert np.isfinite(metrics["loss"])
    return state, metrics


def reward_of(stage, params):
    return float(jax.jit(RewardStage.validate)(stage, params, BATCH, jax.random.key(7))["reward"])


@pytest.mark.slow
def test_what_is_rewarded_becomes_likelier(stage):
    state, metrics = trained(stage, STEPS)
    assert reward_of(stage, state.params) > reward_of(stage, stage.init(jax.random.key(0))) + 0.02
    assert 0 < float(metrics["reward"]) < 1


def test_the_reward_reads_the_prompts_of_its_clips(stage):
    seen.clear()
    reward_of(stage, stage.init(jax.random.key(0)))
    assert seen == ["a red ball bounces"] * 4


@pytest.mark.slow
def test_the_first_step_compares_the_model_with_itself(stage):
    state = make_begin(make_optimizer(CONFIG, 1), stage)(stage.init(jax.random.key(0)))
    found = jax.jit(RewardStage.collect)(stage, state, BATCH, jax.random.key(2))
    np.testing.assert_allclose(found.old, found.start, atol=1e-6)
    assert len(found.x) == OBJECTIVE.points * OBJECTIVE.group * len(LATENT)
    loss, metrics = jax.jit(RewardStage.loss)(stage, state.params, found, jax.random.key(3))
    assert float(metrics["kl"]) < 1e-9
    assert np.isfinite(loss)


@pytest.mark.slow
def test_conditioning_frames_are_those_of_the_data_in_every_clip_of_a_prompt(stage):
    stage = replace(
        stage,
        rollout=replace(
            stage.rollout, flow=replace(stage.rollout.flow, objective=replace(stage.rollout.flow.objective, known=1.0))
        ),
    )
    state = make_begin(make_optimizer(CONFIG, 1), stage)(stage.init(jax.random.key(0)))
    found = jax.jit(RewardStage.collect)(stage, state, BATCH, jax.random.key(2))
    fixed = np.asarray(found.inputs.generated) == 0
    assert fixed.any()
    clips = np.tile(np.repeat(LATENT, OBJECTIVE.group, 0), (OBJECTIVE.points, 1, 1, 1, 1))
    np.testing.assert_allclose(np.asarray(found.clean)[fixed], clips[fixed], atol=1e-6)
    assert (np.asarray(found.time)[fixed] == 0).all()
    groups = fixed[: len(fixed) // OBJECTIVE.points].reshape(len(LATENT), OBJECTIVE.group, -1)
    assert (groups == groups[:, :1]).all()


@pytest.mark.slow
def test_a_held_model_stays_where_it_began(stage):
    held = replace(stage, objective=replace(OBJECTIVE, kl=1e3))
    free, _ = trained(stage, 10)
    near, _ = trained(held, 10)
    begin = stage.init(jax.random.key(0))
    distance = [
        float(sum(jnp.sum(jnp.square(a - b)) for a, b in zip(*map(jax.tree.leaves, (s.params, begin)), strict=True)))
        for s in (free, near)
    ]
    assert distance[1] < 0.5 * distance[0]


@pytest.mark.slow
def test_an_adapter_learns_and_the_anchor_counts(tiny_model, tmp_path):
    training = training_of(tiny_model, rank=2, objective=replace(OBJECTIVE, anchor=0.5))
    stage = training.build(tmp_path)[0]
    state, _ = trained(stage, 3)
    assert "b" in str(jax.tree.structure(state.params))
    stage.export(tmp_path / "model", state.params)
    assert (tmp_path / "model" / "lora.safetensors").exists()


@pytest.mark.slow
def test_a_mesh_learns_the_same(stage):
    optimizer = make_optimizer(CONFIG, 3)
    results = []
    for devices in (1, 8):
        mesh = make_mesh("" if devices == 1 else "data=2,fsdp=4", jax.devices()[:devices])
        with jax.set_mesh(mesh):
            begin = make_begin(optimizer, stage)
            state = begin(stage.init(jax.random.key(0)))
            where = shardings(state, mesh)
            state = jax.device_put(state, where)
            placed = jax.device_put(stage, shardings(stage, mesh))
            update = jax.jit(make_update(optimizer, CONFIG))
            batch = place_batch(jax.tree.map(lambda x: np.repeat(x, 2, 0), BATCH), mesh)
            for _ in range(2):
                state, metrics = update(state, placed, batch, jax.random.key(1), 1.0)
            results.append(float(metrics["reward"]))
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_a_model_folder_is_written(stage, tmp_path):
    stage.export(tmp_path, stage.init(jax.random.key(0)))
    config, params, _ = load_model(tmp_path, SoraConfig)
    assert config.sampler == TINY.sampler
    assert "vae" in params


@pytest.mark.parametrize(("change", "message"), [({"group": 1}, "objective.group is 1"), ({"strength": 0}, "above 0")])
def test_values_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RewardObjective(**change)
