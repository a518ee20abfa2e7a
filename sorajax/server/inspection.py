"""The detector's report on an uploaded file, made in a process of its own with limits of memory and time. The process
imports nothing of the server, so that it starts quickly.

    python -m sorajax.server.inspection FILE SECONDS MEMORY < KEY
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sorajax.errors import BadRequest
from sorajax.server.decoding import GRACE, Limits, limit_process, suffix_of


def inspected(content: bytes, limits: Limits, key: str) -> dict[str, Any]:
    """The detector's report on a file. key: the watermark's. Raises BadRequest where the limits do not suffice."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix_of(content[:16])}"
        path.write_bytes(content)
        command = [sys.executable, "-m", "sorajax.server.inspection", str(path), json.dumps(limits.processor_seconds)]
        command += [json.dumps(limits.memory)]
        try:
            seconds = limits.processor_seconds + GRACE
            done = subprocess.run(command, input=key, capture_output=True, text=True, timeout=seconds)
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
            raise BadRequest("the file takes too much memory or time to read, or is damaged") from error
    if found["state"] == "unreadable":
        raise BadRequest("the file cannot be read: it is damaged, or of another format")
    return found


def main(path: str, processor_seconds: str, memory: str) -> None:
    """The process that reads a file."""
    limit_process(int(memory), int(processor_seconds))
    from sorajax.safety.detector import inspect

    print(json.dumps(inspect(Path(path), key=sys.stdin.read()).as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
