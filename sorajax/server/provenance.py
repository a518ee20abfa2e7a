"""Where an uploaded file came from. It is read in a process of its own, with limits of memory and time.

python -m sorajax.server.provenance FILE LIMITS < KEY
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sorajax.errors import BadRequest
from sorajax.server.bodies import read_body
from sorajax.server.decoding import GRACE, Limits, limit_process, suffix_of
from sorajax.server.describe import body_of
from sorajax.server.failures import invalid
from sorajax.server.fields import ProvenanceCheck
from sorajax.server.service import Service
from sorajax.server.videos import as_owner

router = APIRouter(prefix="/v1/content_provenance_checks", tags=["provenance"])


@router.post("", openapi_extra=body_of(ProvenanceCheck))
async def check(request: Request) -> Response:
    """Says whether a picture or video has a signed manifest, and whether it was changed since. The file is not kept."""
    await as_owner(request, lambda service, owner: None)
    body: Any = await read_body(request, ProvenanceCheck)

    def work(service: Service, owner: str) -> dict[str, Any]:
        if body.file.upload is None:
            raise invalid("file is missing: upload it as multipart/form-data", "file", "missing_field")
        content = body.file.upload.file.read(service.limits.bytes + 1)
        if len(content) > service.limits.bytes:
            raise invalid(f"the file has more than {service.limits.bytes} bytes: give a smaller one", "file")
        try:
            return answer(inspected(content, service.limits, service.policy.watermark_key))
        except BadRequest as error:
            raise invalid(str(error), "file", "invalid_file") from error

    return JSONResponse(await as_owner(request, work))


def inspected(content: bytes, limits: Limits, key: str) -> dict[str, Any]:
    """The detector's report on a file. key: the watermark's. Raises BadRequest where the limits do not suffice."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix_of(content[:16])}"
        path.write_bytes(content)
        command = [sys.executable, "-m", "sorajax.server.provenance", str(path), json.dumps(limits.processor_seconds)]
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


def answer(report: dict[str, Any]) -> dict[str, Any]:
    """A report as the API shows it. The published client knows no watermark but another's, so that it is a field."""
    c2pa = {
        "type": "c2pa",
        "outcome": "detected" if report["state"] == "sound" else "not_detected",
        "validation_state": report["manifest"],
        "issuer": report["issuer"] or None,
        "model": report["model"] or None,
        "generated_at": as_utc(report["made"]),
    }
    more = {name: report[name] for name in ("state", "changed", "watermark")} | {"summary": " ".join(report["words"])}
    return {"object": "content_provenance_check", "created_at": int(time.time()), "results": [c2pa], **more}


def as_utc(moment: str) -> str | None:
    """A time of a manifest as RFC 3339 in UTC; None for another text."""
    try:
        return datetime.fromisoformat(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")
    except ValueError:
        return None


def main(path: str, processor_seconds: str, memory: str) -> None:
    """The process that reads a file."""
    limit_process(int(memory), int(processor_seconds))
    from sorajax.safety.detector import inspect

    print(json.dumps(inspect(Path(path), key=sys.stdin.read()).as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
