"""Prompts are expanded before sampling, and the best clip is chosen after."""

from types import SimpleNamespace

import numpy as np
import pytest

from sorajax.commands.choosing import APART, best, expanded
from sorajax.commands.sample import main
from sorajax.devices.distributed import Processes
from sorajax.media.video import Video
from sorajax.sampling.request import Request
from sorajax.tasks.table import TASKS


def clips(request, stores=None):
    """A clip for each of a request, whose pixels are made of its seed."""
    for prompt, seed in request.clips:
        yield Video(np.full((1, 8, 8, 3), seed // APART, np.uint8), 8.0, {"prompt": prompt, "seed": seed})


def brightness(video, prompt):
    return float(video.frames.mean())


def test_the_clip_with_the_highest_score_is_chosen_for_each_prompt():
    chosen = list(best(clips, 3, brightness, Request(("a", "b"), num=2, seed=5)))
    assert [video.metadata["prompt"] for video in chosen] == ["a", "a", "b", "b"]
    assert [video.metadata["seed"] for video in chosen] == [5 + 2 * APART, 6 + 2 * APART] * 2
    assert chosen[0].metadata["best_of"] == 3
    assert chosen[0].metadata["score"] == brightness(chosen[0], "a")


def test_the_first_candidate_is_the_clip_that_would_be_made_without():
    (chosen,) = best(clips, 2, lambda video, prompt: -brightness(video, prompt), Request(("a",), seed=3))
    assert np.array_equal(chosen.frames, next(clips(Request(("a",), seed=3))).frames)


def test_each_prompt_is_expanded_with_the_seed_of_the_request():
    class Pipeline:
        prompts = SimpleNamespace(originals={})

        def expand(self, prompt, seed, endpoint, shown, inputs):
            return f"{prompt} {seed} {shown}"

    request, inputs = expanded(Pipeline(), Request(("a", "b"), seed=4), TASKS["text"], [], None, Processes())
    assert (request.prompts, inputs) == (("a 4 text", "b 4 text"), [])
    assert Pipeline.prompts.originals == {"a 4 text": "a", "b 4 text": "b"}


@pytest.mark.parametrize(
    ("options", "text"), [(["--best-of", "0"], "--best-of 0"), (["--best-of", "2", "--resume"], "--resume")]
)
def test_impossible_options_are_one_line(options, text, capsys):
    assert main(["a red ball", *options]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
