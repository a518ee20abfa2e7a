"""The policy in use: the checks of a pipeline, and the finishing of each video's files (`media.video.Finishing`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sorajax.errors import note
from sorajax.media.video import Frames, Video
from sorajax.safety import frames, prompts, provenance, watermark
from sorajax.safety.certificates import credentials
from sorajax.safety.policy import Policy, refuse
from sorajax.safety.prompts import ask_moderator, category_of
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

    def check_prompts(self, texts: Sequence[str], what: str = "the prompt") -> None:
        """Raises Refused for prompts, negative prompts or other texts that fall under a category of the filter."""
        found = (prompts.CATEGORIES.get(category_of(text) or "") for text in texts) if self.policy.prompts else ()
        category = next((name for name in found if name), None)
        given = [text for text in texts if text.strip()]
        if category is None and self.policy.moderator and given:
            category = next(ask_moderator(self.policy.moderator, self.policy.moderator_model, given), None)
        if category is not None:
            raise refuse(self.policy, what, category, "describe something else; docs/safety.md says what is refused")

    def check_given(self, videos: Iterable[Video]) -> None:
        """Raises Refused for input pictures and clips that a filter refuses, by the words in their metadata or by their
        frames."""
        for video in videos:
            texts = [text for text in video.metadata.values() if isinstance(text, str)]
            self.check_prompts(texts, "the metadata of a given file")
            for _ in self.check_frames(video.pictures(), video.fps, "a given file"):
                pass

    def check_frames(self, parts: Iterator[Frames], fps: float, what: str) -> Iterator[Frames]:
        """The parts of a clip. Raises Refused at the first that the filter of frames refuses."""
        classify = (self.policy.own_classifier() or frames.opennsfw()) if self.policy.frames else None
        if classify is None:
            yield from parts
            return
        for part, is_refused in frames.checked(parts, fps, classify, self.policy.threshold):
            if is_refused:
                raise refuse(
                    self.policy, what, frames.CATEGORY, "no file was written; docs/safety.md says what is refused"
                )
            yield part

    def frames(self, parts: Iterator[Frames], fps: float, metadata: Mapping[str, Any]) -> Iterator[Frames]:
        """The frames as they are encoded, with the watermark. Raises Refused for frames that the filter refuses."""
        identifier = self.identifier(metadata)
        for part in self.check_frames(parts, fps, "the video"):
            yield part if identifier is None else watermark.embed(part, identifier, self.policy.watermark_key)

    def identifier(self, metadata: Mapping[str, Any]) -> int | None:
        """The watermark's identifier of a clip, from its metadata; None where it is not marked."""
        is_marked = self.policy.watermark and watermark.fits(metadata["height"], metadata["width"])
        return watermark.identifier_of(metadata) if is_marked else None

    def file(self, path: Path, suffix: str, metadata: Mapping[str, Any]) -> None:
        """Signs an encoded file, in place; a format that cannot have a manifest stays as it is, with a `Note`. Raises
        BadRequest if that fails."""
        if self.policy.provenance and suffix not in provenance.KINDS:
            note(f"{suffix} files have no place for a manifest: this one is not signed")
        elif self.policy.provenance and provenance.available():
            signer = credentials(self.policy.certificate, self.policy.key)
            provenance.sign(
                path,
                suffix,
                metadata,
                signer,
                self.task,
                self.ingredients,
                timestamps=self.policy.timestamps,
                identifier=self.identifier(metadata),
            )
