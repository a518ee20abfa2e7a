"""Failures outside a request (files, models, memory) and notes, each on one line."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sorajax.errors import BadRequest, Note

Result = TypeVar("Result")


class Failure(Exception):
    """A file, model or device failed; the message is one line."""


def attempt(work: Callable[[], Result]) -> Result:
    """Runs `work`. Raises Failure, of one line, for errors of files, models and memory; BadRequest passes through."""
    try:
        return work()
    except BadRequest:
        raise
    except (OSError, ValueError) as error:
        raise Failure(" ".join(str(error).split())) from error
    except (MemoryError, RuntimeError) as error:  # XLA's kind of it is not imported here, see `sorajax.sample.load`
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise Failure(
            f"the memory is full ({' '.join(str(error).split())[:200]}): use fewer frames or clips, a smaller size, "
            "more devices, or --quantize int8"
        ) from error


@contextmanager
def notes_printed() -> Iterator[None]:
    """Prints each `Note` once, on a line of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        usual, printed = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not issubclass(category, Note):
                usual(message, category, *where)
            elif (text := str(message)) not in printed:
                printed.add(text)
                print(f"note: {text}", file=sys.stderr)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def complain(error: Exception | str, code: int) -> int:
    """Prints an error on one line, and returns the exit code."""
    print(f"sorajax: {' '.join(str(error).split())}", file=sys.stderr)
    return code
