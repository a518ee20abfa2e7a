"""The pipeline of the tiny model, for all tasks."""

import pytest

import sorajax
from sorajax.sampling.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(tiny_model) -> Pipeline:
    return sorajax.load(tiny_model)
