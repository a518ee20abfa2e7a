"""Errors of the API: a status, and a body that names the field.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

from collections.abc import Mapping
from typing import Any

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    507: "insufficient_storage_error",
}
"""`type` by status; any other status below 500 is an "invalid_request_error"."""

BLOCKED = "moderation_blocked"
"""The code of what the policy refuses."""


class ApiError(Exception):
    """An answer other than the expected one.

    status: of HTTP. message: one line with value, limit and remedy. param: the field at fault. code: for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return error_body(self.status, self.message, self.param, self.code)


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": " ".join(message.split()), "type": kind, "param": param, "code": code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400."""
    return ApiError(400, message, param, code)


def missing(what: str, name: str, param: str) -> ApiError:
    """A 404 for an id that this key has not."""
    return ApiError(404, f"there is no {what} '{name[:80]}': it was deleted, or its id is wrong", param, "not_found")
