"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from sorajax import __version__
from sorajax.server import files, plays, provenance, videos
from sorajax.server.describe import complete, page
from sorajax.server.failures import ApiError, error_body
from sorajax.server.guard import Guard
from sorajax.server.logs import log
from sorajax.server.metrics import Metrics, Queue
from sorajax.server.service import Service
from sorajax.server.studio import about, details, favourites, previews, queue, restore
from sorajax.server.studio.page import add_page
from sorajax.server.videos import as_owner
from sorajax.server.workers import is_full

ABOUT = "Videos from prompts, pictures and clips: the API of OpenAI's videos, and the tasks of sorajax."
health = APIRouter(tags=["server"])


def application(service: Service) -> Any:
    """The API of a service, an ASGI application."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        if service.webhooks is not None:
            service.webhooks.start()
        yield
        service.stopping.set()
        app.state.plays.close()

    app = FastAPI(title="sorajax", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=life)
    app.state.service, app.state.plays = service, plays.Plays(service.options)
    counted = Queue(service.jobs.counts, lambda: len(service.living()), service.content.free_bytes)
    app.state.metrics = Metrics(counted)
    for router in (videos.router, files.router, provenance.router, plays.router, health):
        app.include_router(router)
    for studio in (about, details, favourites, previews, queue, restore):
        app.include_router(studio.router)
    add_page(app)
    app.add_exception_handler(ApiError, answer_api_error)
    app.add_exception_handler(RequestValidationError, answer_wrong_parameter)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(OperationalError, answer_database_error)
    app.add_exception_handler(OSError, answer_database_error)
    app.add_exception_handler(Exception, answer_failure)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    return Guard(app, service.options, app.state.metrics)


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description."""
    if not app.openapi_schema:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        app.openapi_schema = complete(found)
    return app.openapi_schema


def answer_api_error(request: Request, error: Any) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


def answer_wrong_parameter(request: Request, error: Any) -> Response:
    """An unknown or invalid query parameter."""
    first = error.errors()[0]
    param = str(first["loc"][-1])
    return JSONResponse(error_body(400, f"{param}: {first['msg'].lower()}", param, "invalid_value"), 400)


def answer_http_error(request: Request, error: Any) -> Response:
    """An unknown path or method."""
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return JSONResponse(error_body(error.status_code, message), error.status_code, error.headers)


def answer_database_error(request: Request, error: Any) -> Response:
    """A full disk, or a database that does not answer."""
    if is_full(error):
        body = error_body(507, "the server's disk is full: try again later", None, "disk_full")
        return JSONResponse(body, 507, {"Retry-After": "60"})
    if isinstance(error, OperationalError):
        log("the database does not answer", level="error", error=str(error.orig))
        body = error_body(503, "the server's database does not answer: try again", None, "database")
        return JSONResponse(body, 503, {"Retry-After": "5"})
    return answer_failure(request, error)


def answer_failure(request: Request, error: Any) -> Response:
    """An internal error: the details are logged, not sent to the client."""
    import traceback

    log("failure", level="error", path=request.url.path, error="".join(traceback.format_exception(error))[-4000:])
    return JSONResponse(error_body(500, "the server failed: see its log", None, "internal"), 500)


@health.get("/v1/models")
async def list_models(request: Request) -> Response:
    """The served model."""
    row = await as_owner(request, lambda service, owner: model_answer(service))
    return JSONResponse({"object": "list", "data": [row]})


@health.get("/v1/models/{model}")
async def retrieve_model(request: Request, model: str) -> Response:
    """A model, with the sizes and lengths that it was trained on."""

    def work(service: Service, owner: str) -> dict[str, Any]:
        from sorajax.server.specs import check_model

        check_model(service.served(), model)
        return model_answer(service)

    return JSONResponse(await as_owner(request, work))


def model_answer(service: Service) -> dict[str, Any]:
    served = service.served()
    config = served.config
    return {
        "id": served.name,
        "object": "model",
        "created": 0,
        "owned_by": "sorajax",
        "sizes": [f"{width}x{height}" for height, width in config.sizes],
        "frames": list(config.frames),
        "fps": config.fps,
        "steps": config.steps,
    }


@health.get("/healthz")
async def healthz() -> Response:
    """Liveness: the server answers."""
    return JSONResponse({"status": "ok"})


@health.get("/readyz")
async def readyz(request: Request) -> Response:
    """Readiness: a worker has opened the model and samples jobs; otherwise 503."""
    service: Service = request.app.state.service
    from fastapi.concurrency import run_in_threadpool

    workers = await run_in_threadpool(service.living)
    if not workers:
        raise ApiError(
            503, "no worker is ready: the model is being opened", None, "model_not_ready", {"Retry-After": "2"}
        )
    await run_in_threadpool(service.served)
    return JSONResponse({"status": "ready", "workers": len(workers)})


@health.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    found: Metrics = request.app.state.metrics
    text = await as_owner(request, lambda service, owner: found.page())
    return Response(text, media_type="text/plain; version=0.0.4")


@health.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The description as a page."""
    return HTMLResponse(page(described(request.app)))
