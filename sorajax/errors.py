"""Errors in requests, and notes for the user: one line each."""

import warnings


class Note(UserWarning):
    """A note for the user on how a request is met, e.g. a value that was rounded; `note` issues it."""


def note(text: str) -> None:
    """Issues a `Note`; command lines print it on one line."""
    warnings.warn(text, Note, stacklevel=3)


class BadRequest(ValueError):
    """A request that cannot be met; the message names the value, the limit and the remedy on one line."""


class Refused(BadRequest):
    """A request that the policy refuses. It names the category, and repeats neither prompts nor file contents."""

    def __init__(self, message: str, category: str):
        super().__init__(message)
        self.category = category


def one_line(error: BaseException) -> str:
    """An error's message on one line, or its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
