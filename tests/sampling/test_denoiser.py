"""What the transformer is given: contexts of prompts and, with guidance, of as many negative prompts."""

from types import SimpleNamespace

import numpy as np
import pytest

from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.denoiser import Denoiser, operations
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for
from tests.conftest import TINY

CLIPS = [("a red ball", 3), ("a box", 9)]


@pytest.fixture
def denoiser():
    """Contexts are the prompts' lengths, and latents are numbered."""
    prompts = SimpleNamespace(context=lambda prompt: np.full((4, 8), len(prompt), np.float32))
    codec = SimpleNamespace(encode=lambda frames: np.ones(((len(frames) + 3) // 4, 4, 4, 4), np.float32))
    return Denoiser(TINY, {"dit": None}, prompts, codec, None, None, "tiny")


@pytest.mark.parametrize(("scale", "lengths"), [(4.0, [10, 5, 4, 4]), (1.0, [10, 5])])
def test_negative_prompts_follow_the_prompts_where_there_is_guidance(denoiser, scale, lengths):
    settings = settings_for(Request(("a",), guidance_scale=scale, negative="blue"), TINY)
    known, extra = denoiser.inputs(None, (2, *settings.latent))
    conditions = denoiser.conditions(CLIPS, settings, settings.times(), known, extra)
    assert conditions.context[:, 0, 0].tolist() == lengths
    assert conditions.seeds.tolist() == [3, 9]
    assert conditions.guidance_scale == scale


def test_a_head_is_fixed_in_every_clip(denoiser):
    head = np.zeros((1, 16, 16, 3), np.uint8)
    known, _ = denoiser.inputs(ConditioningFrames(head=head), (2, 2, 4, 4, 4))
    assert np.asarray(known.mask).tolist() == [[True, False]] * 2
    assert np.asarray(known.latent).mean((0, 2, 3, 4)).tolist() == [1, 0]


@pytest.mark.parametrize("guided", [False, True])
def test_operations_grow_with_parameters_tokens_steps_and_branches(guided):
    def counted(frames, steps):
        conditions = abstract_conditions(TINY, (frames, 4, 4, 4), steps)
        return operations(TINY, params, conditions._replace(times=np.zeros(steps + 1)), guided)

    params = {"kernel": np.zeros((10, 3)), "bias": np.zeros(3)}
    tokens, steps = 2 * 2 * 2, 50
    assert counted(2, steps) == pytest.approx(2 * 33 * tokens * steps * (2 if guided else 1), rel=0.05)
    assert counted(6, steps) == 3 * counted(2, steps)
    assert counted(2, 2 * steps) > 1.9 * counted(2, steps)
