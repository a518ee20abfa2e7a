"""From a trained model to one of few steps: by the command, exported, sampled."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import sorajax
from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.errors import BadRequest, Note
from sorajax.models.folder import export_model, load_model
from sorajax.models.sora import SoraConfig
from sorajax.sampling.request import Request
from sorajax.training.experiments.distill import DistillTraining
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.loop import LoopConfig, fit
from sorajax.training.objectives.distill import DistillObjective
from sorajax.training.objectives.flow import FlowObjective
from tests.conftest import TINY, tiny_tokenizer
from tests.pretrained.adapters import adapted
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


@pytest.mark.slow
def test_an_adapter_makes_its_teacher_a_flow_map(teacher, tmp_path):
    training = replace(TRAINING, teacher=teacher, rank=2)
    stage, batches = training.build(tmp_path)
    fit(stage, batches, training.loop, tmp_path)
    adapter = tmp_path / "model" / "lora.safetensors"
    student = stage.student.whole(stage.load(tmp_path))
    with pytest.warns(Note, match="a flow map, which sets 2 steps, sampler flow_map and guidance scale 1"):
        pipeline = sorajax.load(teacher, loras=[str(adapter)])
    assert vars(pipeline.config) == vars(replace(stage.student.config, default_sampler="flow_map"))
    merged = adapted(student["dit"], student["adapters"])
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), dict(pipeline.params["dit"]), merged)
    (video,) = pipeline("a red ball")
    assert (video.metadata["sampler"], video.metadata["steps"]) == ("flow_map", 2)
    assert not sorajax.load(teacher, loras=[str(adapter)], preset="none").config.is_flow_map


@pytest.fixture(scope="module")
def steered(teacher, tmp_path_factory):
    """The training directory of a student that reads the guidance scale."""
    directory = tmp_path_factory.mktemp("steered")
    training = replace(TRAINING, teacher=teacher, objective=replace(TRAINING.objective, guidance=(1.0, 6.0)))
    stage, batches = training.build(directory)
    fit(stage, batches, training.loop, directory)
    return directory


@pytest.mark.slow
def test_guidance_as_an_input_costs_no_second_evaluation(teacher, steered):
    pipeline = sorajax.load(steered)
    usual, taught = pipeline.config.dit.guidance, load_model(teacher, SoraConfig)[0]
    assert (usual, pipeline.config.dit.guidance_range) == (taught.guidance_scale, (1.0, 6.0))
    settings = pipeline.plan(Request(("a red ball",), guidance_scale=2.0))
    assert not settings.guided
    (own,), (same,), (other,) = (pipeline("a red ball", guidance_scale=scale) for scale in (None, usual, 1.5))
    assert (own.metadata["guidance_scale"], other.metadata["guidance_scale"]) == (usual, 1.5)
    np.testing.assert_array_equal(own.frames, same.frames)
    assert np.any(own.frames != other.frames)
    assert np.any(pipeline("a red ball", negative="blue")[0].frames != own.frames)
    with pytest.raises(
        BadRequest, match="guidance scale 7 is not allowed: the model was distilled for 1 to 6, and its"
    ):
        pipeline("a red ball", guidance_scale=7.0)


@pytest.mark.slow
def test_a_model_that_reads_the_guidance_scale_is_trained_further(steered, tmp_path):
    data = WorldData(buckets=(Bucket(5, 16, 16, batch_size=2),))
    stage, _ = LoRATraining(base=steered, rank=2, data=data, objective=FlowObjective(known=0.0)).build(tmp_path)
    assert stage.config.dit.guidance_range == (1.0, 6.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 2, "objective": DistillObjective(guidance=(1.0, 6.0))}, "adapters read no guidance scale"),
        ({"objective": DistillObjective(guidance=(5.0, 6.0))}, "with the teacher's own scale, 4, in it"),
        ({"objective": DistillObjective(guidance=(0.5, 6.0))}, "is 0.5 to 6: use a range from 1 up"),
    ],
)
def test_ranges_of_guidance_that_cannot_be_learned_are_refused(teacher, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        replace(TRAINING, teacher=teacher, **changes).build(tmp_path)
