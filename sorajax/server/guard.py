"""Checks of every request: origin, host and size of the body; and a line in the log."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from sorajax.server.failures import ApiError, error_body
from sorajax.server.logs import log
from sorajax.server.metrics import Metrics
from sorajax.server.options import LOOPBACK, ServeOptions

BODY_SECONDS = 60.0  # longest pause within a body
SPARE = 2**20  # bytes of a body beside its files
QUIET = ("/healthz", "/readyz", "/metrics")
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
STUDIO = "/"
STUDIO_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; frame-ancestors "
)
"""Content security policy of the studio's page, with the origins that may embed it in a frame."""


class Guard:
    """ASGI middleware around the API."""

    def __init__(self, app: Any, options: ServeOptions, metrics: Metrics):
        self.app, self.metrics = app, metrics
        self.most = 2 * options.max_upload_mb * 2**20 + SPARE  # two clips, as for `connect`
        local = options.host in LOOPBACK
        self.names = {*options.allow_host, *(LOOPBACK if local or options.allow_host else ())}
        self.any_name = not local and not options.allow_host
        self.origins = {origin.rstrip("/") for origin in options.allow_origin}
        self.studio_policy = f"{STUDIO_POLICY}{' '.join(sorted(self.origins)) or chr(39) + 'none' + chr(39)}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["type"] == "websocket":
            try:
                self.check(headers)
            except ApiError as error:
                await refuse(send, error, "websocket.http")
                return
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                policy = self.studio_policy if scope["path"] == STUDIO else POLICY
                headers_sent = [*message["headers"], *SECURITY, (b"content-security-policy", policy)]
                message = {**message, "headers": headers_sent}
            await send(message)

        try:
            self.check(headers, scope["path"] == STUDIO and scope["method"] in ("GET", "HEAD"))
            await self.app(scope, self.bounded(receive), sending)
        except ApiError as error:  # before the application has it
            await refuse(sending, error)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.observe(scope["method"], route, status, seconds)
            if scope["path"] not in QUIET:
                client = (scope.get("client") or ("?",))[0]
                log(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(1000 * seconds, 1),
                    client=client,
                )

    def check(self, headers: dict[bytes, str], opens_page: bool = False) -> None:
        """Raises ApiError for a request that a web page of another origin makes, for a name that is not this server's,
        and for a body that is too large. opens_page: it asks for the studio, to which any page may link."""
        host = headers.get(b"host", "")
        if not self.any_name and hostname(f"//{host}") not in self.names:
            message = f"this server is not '{host[:80]}': start it with --allow-host to serve that name"
            raise ApiError(403, message, None, "host_not_allowed")
        origin = headers.get(b"origin")
        foreign = origin is not None and urlsplit_or_none(origin) != host and origin not in self.origins
        crossing = headers.get(b"sec-fetch-site") in ("cross-site", "same-site") and not opens_page
        if foreign or crossing:
            raise ApiError(403, "web pages of other origins cannot use this server", None, "cross_origin")
        length = headers.get(b"content-length", "0")
        if length.isdecimal() and int(length) > self.most:
            raise self.too_large()

    def too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self.most} bytes: send smaller files", None, "too_large")

    def bounded(self, receive: Callable) -> Callable:
        """The same stream, which ends with an error after too many bytes, or when nothing comes."""
        total, complete = 0, False

        async def receiving() -> dict[str, Any]:
            nonlocal total, complete
            if complete:
                message: dict[str, Any] = await receive()
                return message
            try:
                message = await asyncio.wait_for(receive(), BODY_SECONDS)
            except TimeoutError as error:
                raise ApiError(408, "the body did not arrive", None, "timeout") from error
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > self.most:
                raise self.too_large()
            return message

        return receiving


def urlsplit_or_none(address: str) -> str | None:
    """Host and port of an address."""
    try:
        return urlsplit(address).netloc or None
    except ValueError:
        return None


def hostname(address: str) -> str | None:
    """Host of an address without its port."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def refuse(send: Callable, error: ApiError, kind: str = "http") -> None:
    """Answers with an error. kind: "websocket.http" for a WebSocket that is not opened."""
    body = json.dumps(error_body(error.status, error.message, error.param, error.code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
