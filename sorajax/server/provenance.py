"""Provenance of an uploaded file."""

import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sorajax.errors import BadRequest
from sorajax.server.bodies import read_body
from sorajax.server.describe import body_of
from sorajax.server.failures import invalid
from sorajax.server.fields import ProvenanceCheck
from sorajax.server.inspection import inspected
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


def answer(report: dict[str, Any]) -> dict[str, Any]:
    """A report as the API shows it. The published client has no type for this watermark, so it is an extra field."""
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
