"""The policy at work: what a pipeline checks, and what each video carries to its files (`media.video.Finishing`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sorajax.media.video import Frames
from sorajax.safety import provenance
from sorajax.safety.certificates import credentials
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import Ingredient


@dataclass(frozen=True)
class Safety:
    """A policy for the videos of one task. ingredients: the pictures and clips that they were made from."""

    policy: Policy = field(default_factory=Policy)
    task: str = "text"
    ingredients: tuple[Ingredient, ...] = ()

    def made_from(self, task: str, ingredients: tuple[Ingredient, ...]) -> "Safety":
        """The same policy for videos of a task that were made from these files."""
        return replace(self, task=task, ingredients=ingredients)

    def check_prompts(self, texts: Sequence[str]) -> None:
        """Checks prompts and negative prompts."""

    def frames(self, parts: Iterator[Frames], fps: float) -> Iterator[Frames]:
        """The frames as they are encoded."""
        yield from parts

    def file(self, path: Path, suffix: str, metadata: Mapping[str, Any]) -> None:
        """Signs an encoded file, in place. Raises BadRequest if that fails."""
        if self.policy.provenance and provenance.available():
            signer = credentials(self.policy.certificate, self.policy.key)
            provenance.sign(
                path, suffix, metadata, signer, self.task, self.ingredients, timestamps=self.policy.timestamps
            )
