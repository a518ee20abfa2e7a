"""Loops: clips without a seam between their last and their first frame."""

from collections.abc import Iterator
from dataclasses import replace

from sorajax.diffusion.looped import Cycle
from sorajax.errors import BadRequest, note
from sorajax.media.video import Video
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import CUT, Request
from sorajax.tasks.shaping import check_at_once, plan_and_note, requested_frames, with_size


def loop(pipeline: Pipeline, request: Request) -> Iterator[Video]:
    """Loops of the prompts. Each has the request's `seconds` or `frames`, by default one frame less than the model's
    window, rounded to whole latent frames, at least two."""
    if cut := next((prompt for prompt in request.prompts if CUT.search(prompt)), None):
        raise BadRequest(f'"{cut}" contains a cut, and a loop has none: leave out "Cut to:", or --loop')
    request = with_size(pipeline, request, None)
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    length = max(2, (window - 1) // stride)
    requested = requested_frames(request) or length * stride
    cycle = Cycle(max(2, round(requested / stride)), length)
    check_at_once(pipeline, cycle.size * stride)
    if cycle.size * stride != requested:
        limit = f"the model makes {stride}n, at least {2 * stride}"
        note(f"a loop of {requested} frames is rounded to {cycle.size * stride}: {limit}")
    view = plan_and_note(pipeline, replace(request, frames=cycle.length * stride + 1, seconds=None), at_once=True)
    yield from pipeline.stream(request, view, cycle=cycle)
