"""Logs: one JSON object a line, on stderr. Prompts are left out unless the operator asks for them."""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

SETTINGS = {"prompts": False, "quiet": False}
LOCK = threading.Lock()


def log(event: str, level: str = "info", **values: Any) -> None:
    """Writes a line; `prompt` is left out unless `SETTINGS` has prompts."""
    if SETTINGS["quiet"]:
        return
    if not SETTINGS["prompts"]:
        values.pop("prompt", None)
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
    with LOCK:
        sys.stderr.write(json.dumps(line | values, default=str) + "\n")  # one write: a worker writes there, too
        sys.stderr.flush()


class LibraryLines(logging.Handler):
    """Writes what libraries log as such lines."""

    def emit(self, record: logging.LogRecord) -> None:
        values = {"library": record.name, "message": record.getMessage()}
        if record.exc_info:
            values["error"] = "".join(traceback.format_exception(*record.exc_info))[-4000:]
        log("library", level=record.levelname.lower(), **values)


def take_over() -> None:
    """Makes libraries log their warnings and errors as JSON, too."""
    logging.getLogger().handlers = [LibraryLines(logging.WARNING)]
    logging.captureWarnings(True)
