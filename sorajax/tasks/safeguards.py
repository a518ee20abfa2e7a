"""Applies the policy to every task: input files are checked, and outputs name them as their ingredients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any

from sorajax.media.video import Film, Video
from sorajax.safety.provenance import Ingredient, Role

Made = Iterator[Video | Film]


def safeguarded(task: str, kinds: Sequence[str], function: Callable[..., Made]) -> Callable[..., Made]:
    """A task's function, with the safety of the pipeline that it is called with. kinds: of the task's inputs."""

    names = list(signature(function).parameters)[2 : 2 + len(kinds)]

    @wraps(function)
    def run(pipeline: Any, request: Any, *inputs: Any, **options: Any) -> Made:
        bound = signature(function).bind(pipeline, request, *inputs, **options).arguments
        given = [bound[name] for name in names]
        safety = pipeline.safety.made_from(task, ingredients_of(kinds, given))
        safety.check_given(pictures_of(kinds, given))
        for video in function(pipeline, request, *inputs, **options):
            yield replace(video, finishing=safety)

    return run


def ingredients_of(kinds: Sequence[str], inputs: Sequence[Any]) -> tuple[Ingredient, ...]:
    """The pictures and clips of a task. Clips are parts of the output; it is generated from pictures."""
    if "scenes" in kinds:
        images = [scene.image for scene in inputs[0] if scene.image is not None]
        return tuple(Ingredient("inputTo", one.source if isinstance(one, Video) else one) for one in images)
    roles: list[Role] = ["parentOf", "componentOf"] if "clip" in kinds else ["inputTo", "inputTo"]
    return tuple(Ingredient(role, video.source) for role, video in zip(roles, inputs, strict=False))


def pictures_of(kinds: Sequence[str], inputs: Sequence[Any]) -> Iterator[Video]:
    """The input pictures and clips, with those of a storyboard's scenes. Films are skipped: they are generated while
    they are read, once, and are checked then."""
    if "scenes" in kinds:
        yield from (picture for scene in inputs[0] if (picture := scene.picture()) is not None)
    else:
        yield from (video for video in inputs if isinstance(video, Video))
