"""From options to a captioner: the package's, a trained one, or a remote chat model."""

from typing import NamedTuple

from sorajax.errors import BadRequest
from sorajax.language import Captioner
from sorajax.language.endpoint import Endpoint
from sorajax.language.remote_captioner import RemoteCaptioner


class NamedCaptioner(NamedTuple):
    """A captioner with its name."""

    caption: Captioner
    made_by: str
    """Its name, which tells its captions from those of others."""
    parallel: int
    """Clips that it captions at the same time."""


def remote_captioner(url: str, model: str | None, parallel: int) -> NamedCaptioner:
    """A captioner that asks a chat model. Raises BadRequest for a wrong address or key, and where no model is named."""
    if model is None:
        raise BadRequest(f"{url} may have several models: name one, e.g. --caption-model Qwen/Qwen2.5-VL-7B-Instruct")
    endpoint = Endpoint(url, model, parallel=parallel)
    _ = endpoint.client  # what is missing is said now
    captioner = RemoteCaptioner(endpoint)
    return NamedCaptioner(captioner, captioner.name, parallel)


def trained_captioner(model: str) -> NamedCaptioner:
    """The package's captioner, or that of a training run. Raises FileNotFoundError and ValueError."""
    from sorajax.data.latents import signature
    from sorajax.language.captioner import open_captioner  # importing jax takes seconds

    captioner = open_captioner(model)
    return NamedCaptioner(captioner, f"{model}, weights {signature(captioner.writer.params)}", 1)


def is_address(captioner: str) -> bool:
    """Whether a captioner is named by the URL of a chat server."""
    return "://" in captioner
