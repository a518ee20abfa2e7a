"""A whole student begins as its teacher, in float32, with the teacher's text encoder beside it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.training.student import WholeStudent
from tests.conftest import TINY
from tests.training.flows import flow_stage
from tests.weights import init


def test_a_student_begins_as_its_teacher_and_is_exported_with_its_text_encoder(tmp_path):
    shapes = jax.eval_shape(partial(init, TINY), jax.random.key(0))
    rng = np.random.default_rng(0)
    teacher = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(jnp.bfloat16), shapes)
    vae = teacher.pop("vae")
    student = WholeStudent(teacher, flow_stage().replace(vae=vae))
    params = student.init(jax.random.key(0))
    assert set(params) == {"dit"}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, params["dit"], teacher["dit"])
    moved = jax.tree.map(lambda leaf: leaf + 1, jax.device_get(params))
    whole = student.whole(moved)
    assert whole["dit"] is moved["dit"]
    assert whole["text"] is teacher["text"]
    student.export(tmp_path, moved)
    jax.tree.map(np.testing.assert_array_equal, student.load(tmp_path), moved)
