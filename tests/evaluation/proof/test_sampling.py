"""The time of a clip is that of its parts, and is not estimated without one of them."""

import numpy as np

from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.sampling import STEPS, Clip, step_inputs
from sorajax.evaluation.proof.sizes import TOY


def test_a_clip_takes_its_steps_its_prompts_and_its_decoder():
    clip = Clip(Setting(TOY, 1.0), {"step": 1.0, "text": 3.0, "decoder, whole frames": 4.0})
    (figure,) = clip.whole()
    assert (figure.value, figure.unit, figure.met) == (STEPS + 7, "s", True)
    clip.seconds["step"] = 2.0
    assert [figure.met for figure in clip.whole()] == [False]
    del clip.seconds["text"]
    (figure,) = clip.whole()
    assert (figure.value, figure.note) == (None, "no figure of text")


def test_a_step_has_two_contexts_and_two_times():
    latent, context, times = step_inputs(TOY.timed)
    assert latent.shape == (1, *TOY.timed.latent, TOY.timed.dit.in_channels)
    assert context.shape == (2, TOY.timed.tokens, TOY.timed.dit.text_width)
    assert np.all(np.diff(times) < 0)
