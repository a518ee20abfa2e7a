"""Words around sampling: prompts are expanded before, and the best of several clips is chosen after."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sorajax.commands.failures import attempt
from sorajax.media.video import Film, Video
from sorajax.sampling.request import Request

APART = 2**16
"""Between the seeds of the clips of which one is chosen."""


def expanded(pipeline: Any, request: Request) -> Iterator[str]:
    """The prompts of a request, expanded. Raises Failure where the expander's weights are missing."""
    for prompt in request.prompts:
        yield attempt(lambda prompt=prompt: pipeline.expand(prompt, request.seed))  # type: ignore[misc]


def best(
    make: Callable[..., Iterator[Video | Film]], count: int, request: Request, stores: Any = None
) -> Iterator[Video]:
    """For each clip of a request the best of `count`, by the score of text and video; its metadata say so. The seeds
    are the clip's own, and that plus multiples of `APART`. Windows of films are not stored."""
    from sorajax.language.score import open_score

    score = attempt(open_score)
    for prompt, seed in request.clips:
        seeds = tuple((seed + number * APART) % 2**32 for number in range(count))
        several = replace(request, prompts=(prompt,) * count, num=1, seed=seed, seeds=seeds)
        clips = [clip.whole() for clip in make(several)]
        scores = [score(clip, prompt) for clip in clips]
        chosen = max(range(count), key=scores.__getitem__)
        more = {"best_of": count, "score": round(scores[chosen], 4)}
        yield replace(clips[chosen], metadata={**clips[chosen].metadata, **more})
