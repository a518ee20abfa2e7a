"""From a trained model to one of few steps: by the command, exported, sampled."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import sorajax
from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.errors import BadRequest
from sorajax.models.folder import export_model, load_model
from sorajax.models.sora import SoraConfig
from sorajax.training.experiments.distill import DistillTraining
from sorajax.training.loop import LoopConfig, fit
from sorajax.training.objectives.distill import DistillObjective
from tests.conftest import TINY, tiny_tokenizer
from tests.weights import init

TRAINING = DistillTraining(
    teacher=None,  # type: ignore[arg-type]
    until_blocks=1,
    steps=2,
    objective=DistillObjective(teacher_steps=2, pairs=2, grids=(2, 1)),
    data=WorldData(buckets=(Bucket(5, 16, 16, batch_size=8),)),
    loop=LoopConfig(steps=2, save_every=2, preview_every=0, validate_every=2),
    validation=1,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a tiny random model that reads whole captions of the world."""
    config = replace(TINY, text=replace(TINY.text, tokens=64))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0.1, 0.2, leaf.shape).astype(np.float32), shapes)
    return export_model(tmp_path_factory.mktemp("teacher"), params, config, tiny_tokenizer())


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    """The training directory of a student, its batches rendered and encoded inside the step."""
    directory = tmp_path_factory.mktemp("student")
    training = replace(TRAINING, teacher=teacher)
    stage, batches = training.build(directory)
    fit(stage, batches, training.loop, directory, held_out=training.held_out(stage, directory))
    return directory


@pytest.mark.slow
def test_a_student_samples_in_its_steps_without_guidance(teacher, student):
    config, params, _ = load_model(student, SoraConfig)
    taught, before, _ = load_model(teacher, SoraConfig)
    assert config.is_flow_map
    assert (config.steps, config.guidance_scale, config.drop_conditioning_in_cfg) == (2, 1.0, False)
    assert config.frames == taught.frames
    np.testing.assert_array_equal(params["text"]["embedding"], before["text"]["embedding"])  # it is not trained
    pipeline = sorajax.load(student)
    (video,) = pipeline("a red ball")
    assert (video.metadata["sampler"], video.metadata["steps"], video.metadata["guidance_scale"]) == (
        "flow_map",
        2,
        1.0,
    )
    other = pipeline("a red ball", negative="blue")[0]
    assert other.metadata["guidance_scale"] == TRAINING.negative_scale
    assert np.abs(other.frames.astype(int) - video.frames).max() > 0  # a negative prompt is heeded
    with pytest.raises(BadRequest, match="a cache is for models that are not distilled"):
        pipeline("a red ball", cache="easy")


def test_a_flow_map_is_refused_as_a_teacher(teacher):
    with pytest.raises(BadRequest, match="sampler flow_map is for distilled models, and this is none"):
        sorajax.load(teacher)("a red ball", sampler="flow_map")


@pytest.mark.slow
def test_a_student_is_not_distilled_again(student, tmp_path):
    with pytest.raises(ValueError, match="is distilled already: name the model that it was distilled from"):
        replace(TRAINING, teacher=student).build(tmp_path)
