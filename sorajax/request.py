"""The former location of `sorajax.sampling.request`, kept for one version."""

import warnings

from sorajax.errors import BadRequest, Note, note
from sorajax.sampling.request import Request
from sorajax.sampling.request import StoryboardScene as Scene

__all__ = ["BadRequest", "Note", "Request", "Scene", "note"]

warnings.warn("sorajax.request is sorajax.sampling.request now", DeprecationWarning, stacklevel=2)
