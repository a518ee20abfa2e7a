"""Renamed fields of experiments; the former names are still read."""

import re
from collections.abc import Sequence

from sorajax.errors import note

FORMER = {
    r"objective\.guide_known": "objective.drop_conditioning_in_cfg",
    r"objective\.reach": "objective.max_anchor_gap",
    r"objective\.ahead": "objective.redo_latents",
    r"data\.ahead": "data.prefetch",
    r"data\.buckets\.(\d+)\.seen": r"data.buckets.\1.window_frames",
}
"""Former path of a field -> its path now."""


def present_name(path: str) -> str:
    """The path that a field such as `objective.reach` has now."""
    for former, present in FORMER.items():
        if re.fullmatch(former, path):
            return re.sub(former, present, path)
    return path


def present_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line with former option names replaced, and a `Note` for each."""
    found = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith(("--objective.", "--data.")):
            path = option.removeprefix("--").replace("-", "_")
            if (now := present_name(path)) != path:
                argument = f"--{now.replace('_', '-')}{equals}{value}"
                note(f"{option} is {argument.partition('=')[0]} now; the former name works in this version only")
        found.append(argument)
    return found
