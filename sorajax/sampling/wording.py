"""What a pipeline does with words: captions of videos, and longer prompts."""

from typing import Any

from sorajax.language import Caption
from sorajax.language.captioner import open_captioner
from sorajax.language.expander import open_expander
from sorajax.media.video import Video


def caption(pipeline: Any, video: Video, seed: int = 0) -> Caption:
    """A video in words, short and detailed, by the captioner of the world (`language.captioner`), whichever model the
    pipeline has. Raises FileNotFoundError where the captioner's weights are missing."""
    return open_captioner()(video, seed)


def expand(pipeline: Any, prompt: str, seed: int = 0) -> str:
    """A short prompt of the world as a detailed one (`language.expander`); clips of it have both in their metadata.
    Prompts with other words stay as they are, with a `Note`. Raises FileNotFoundError where the expander's weights are
    missing."""
    text = open_expander()(prompt, seed)
    if text != prompt:
        pipeline.prompts.originals[text] = prompt
    return text
