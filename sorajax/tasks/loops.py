"""Clips without a seam from their end to their beginning."""

from collections.abc import Iterator
from dataclasses import replace

from sorajax.diffusion.looped import Cycle
from sorajax.errors import BadRequest, note
from sorajax.media.video import Video
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import CUT, Request
from sorajax.tasks.shaping import check_at_once, planned, requested_frames, shaped


def loop(pipeline: Pipeline, request: Request) -> Iterator[Video]:
    """A clip of the prompt without a seam from its end to its start, however often it is played: `seconds` (or
    `frames`) of it, by default as much as the model's longest clip, in whole latents, two at least."""
    if cut := next((prompt for prompt in request.prompts if CUT.search(prompt)), None):
        raise BadRequest(f'"{cut}" asks for a cut, and a loop has no seam: leave "Cut to:" out, or --loop')
    request = shaped(pipeline, request, None)
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    length = max(2, (window - 1) // stride)
    wanted = requested_frames(request) or length * stride
    cycle = Cycle(max(2, round(wanted / stride)), length)
    check_at_once(pipeline, cycle.size * stride)
    if cycle.size * stride != wanted:
        least = f"the model makes {stride}n, {2 * stride} at least"
        note(f"a loop of {wanted} frames is rounded to {cycle.size * stride}: {least}")
    view = planned(pipeline, replace(request, frames=cycle.length * stride + 1, seconds=None), at_once=True)
    yield from pipeline.stream(request, view, cycle=cycle)
