"""A pipeline's language functions: captions of videos, and longer prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sorajax.errors import Refused, note
from sorajax.language import Caption
from sorajax.language.endpoint import BadAnswer, Endpoint
from sorajax.media.video import Video
from sorajax.models.folder import BUNDLED
from sorajax.sampling.request import MOST_FRAMES
from sorajax.sampling.shots import shots_of

if TYPE_CHECKING:
    from sorajax.language.remote_expander import Family, Shown


def caption(pipeline: Any, video: Video, seed: int = 0) -> Caption:
    """A video in words, short and detailed, by the captioner of the world (`language.captioner`), whichever model the
    pipeline has. Raises FileNotFoundError where the captioner's weights are missing."""
    from sorajax.language.captioner import open_captioner  # few commands need it

    return open_captioner()(video, seed)


def expand(
    pipeline: Any,
    prompt: str,
    seed: int = 0,
    endpoint: Endpoint | None = None,
    shown: "Shown" = "text",
    inputs: Sequence[Video] = (),
) -> str:
    """A short prompt as a detailed one; clips of it have both in their metadata. Without `endpoint` it is for prompts
    of the world (`language.expander`): those with other words stay as they are, with a `Note`. Raises FileNotFoundError
    where the expander's weights are missing.

    endpoint: a chat model writes it, in the words of the pipeline's model (`language.remote_expander`), and sees the
    `inputs` of the request, which `shown` describes. A prompt stays as it is, with a `Note`, where the answer is none.
    Raises Refused for a prompt that the policy refuses, and EndpointError where the server answers nothing.
    """
    if endpoint is None:
        from sorajax.language.expander import open_expander  # as in `caption`

        text = open_expander()(prompt, seed)
    else:
        text = _expand_elsewhere(pipeline, prompt, seed, endpoint, shown, inputs)
    remember(pipeline, text, prompt)
    return text


def remember(pipeline: Any, text: str, prompt: str) -> None:
    """Remembers the prompt as typed of an expanded one, for the metadata of its clips; a film has that of its first
    shot."""
    if text != prompt:
        for key in (text, shots_of(text, MOST_FRAMES)[0].prompt):
            pipeline.prompts.originals[key] = prompt


def _expand_elsewhere(
    pipeline: Any, prompt: str, seed: int, endpoint: Endpoint, shown: "Shown", inputs: Sequence[Video]
) -> str:
    from sorajax.language.remote_expander import RemoteExpander  # as in `caption`

    pipeline.safety.check_prompts([prompt])  # before it is sent anywhere
    family: Family = "world" if pipeline.name in BUNDLED else "wan"
    try:
        text = RemoteExpander(endpoint, family, shown, tuple(inputs))(prompt, seed)
        pipeline.safety.check_prompts([text])
    except (BadAnswer, Refused) as error:
        note(f"the prompt {prompt!r} stays as it is: {error}")
        return prompt
    return text
