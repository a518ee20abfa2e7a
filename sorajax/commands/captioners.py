"""From options to a captioner: a chat model elsewhere."""

from collections.abc import Callable
from typing import NamedTuple

from sorajax.errors import BadRequest
from sorajax.language import Captioner
from sorajax.language.endpoint import Endpoint
from sorajax.language.remote_captioner import RemoteCaptioner


class NamedCaptioner(NamedTuple):
    """A captioner that is opened when it is needed."""

    open: Callable[[], Captioner]
    made_by: str
    """Its name, which tells its captions from those of others."""
    parallel: int
    """Clips that it captions at the same time."""


def remote_captioner(url: str, model: str | None, parallel: int) -> NamedCaptioner:
    """A chat model's. Raises BadRequest for options that contradict each other."""
    if model is None:
        raise BadRequest(f"{url} may have several models: name one, e.g. --caption-model Qwen/Qwen2.5-VL-7B-Instruct")
    captioner = RemoteCaptioner(Endpoint(url, model, parallel=parallel))
    return NamedCaptioner(lambda: captioner, captioner.name, parallel)
