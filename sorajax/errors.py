"""What goes wrong at the door, and what is worth saying: one line each."""

import warnings


class Note(UserWarning):
    """What a person should know of how a request is met, and did not ask for; `note` gives it."""


def note(text: str) -> None:
    """Warns of it; command lines print it on one line."""
    warnings.warn(text, Note, stacklevel=3)


class BadRequest(ValueError):
    """A request that cannot be met; the message names the value, the limit and the remedy on one line."""


class Refused(BadRequest):
    """A request that the policy refuses. It names the category, and repeats neither prompts nor file contents."""

    def __init__(self, message: str, category: str):
        super().__init__(message)
        self.category = category


def one_line(error: BaseException) -> str:
    """An error's message on one line, or its kind where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__
