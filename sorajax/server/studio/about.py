"""The data for the page's forms: the table of tasks, the model, the operator's limits, and the cost."""

from typing import Any, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sorajax import __version__
from sorajax.sampling.request import LARGEST_SEED, MOST_STEPS, Direction, SamplerName
from sorajax.server.fields import LONGEST_PROMPT
from sorajax.server.plays import WORLDS
from sorajax.server.service import Service
from sorajax.server.studio.cost import Cost, measured
from sorajax.server.videos import as_owner
from sorajax.tasks.table import TASKS

router = APIRouter(tags=["studio"])
SMALL = 10_000  # tokens of a vocabulary that does not know every word
STYLES = ("film", "watercolour", "anime", "claymation", "pencil drawing", "black and white")
STYLES_OF_WORLD = ("flat", "sketch", "neon", "film")


@router.get("/v1/studio")
async def about(request: Request) -> Response:
    """The tasks, the model, the limits, and the time that videos take."""
    return JSONResponse(await as_owner(request, lambda service, owner: description(service)))


def description(service: Service) -> dict[str, Any]:
    served, options = service.served(), service.options
    return {
        "version": __version__,
        "model": model_values(served),
        "tasks": [task_values(task) for task in TASKS.values()],
        "choices": {"direction": get_args(Direction), "sampler": get_args(SamplerName)},
        "styles": STYLES_OF_WORLD if served.config.text.vocabulary <= SMALL else STYLES,
        "limits": {
            "seconds": options.max_seconds,
            "upload_mb": options.max_upload_mb,
            "jobs": options.max_jobs,
            "prompt": LONGEST_PROMPT,
            "seed": LARGEST_SEED,
            "steps": MOST_STEPS,
        },
        "prices": cost_of(service).prices,
        "worlds": WORLDS if options.max_plays else [],
    }


def cost_of(service: Service) -> Cost:
    """The cost of the served model's videos."""
    served = service.served()
    return measured(service.database, served.name, served.config.steps, served.config.fps)


def model_values(served: Any) -> dict[str, Any]:
    """The served model: sizes and lengths that it was trained on, its own settings, and what it can make."""
    config = served.config
    stride, rows, columns = config.vae.stride
    return {
        "name": served.name,
        "sizes": [f"{width}x{height}" for height, width in config.sizes],
        "multiple": [columns, rows],
        "frames": list(config.frames),
        "stride": stride,
        "window": config.window,
        "fps": config.fps,
        "steps": config.steps,
        "guidance_scale": config.dit.guidance or config.guidance_scale,
        "temperature": config.temperature,
        "shift": config.shift,
        "sampler": config.sampler,
    }


def task_values(task: Any) -> dict[str, Any]:
    """A row of the table of tasks."""
    names = ("name", "summary", "inputs", "options", "required", "trims", "own_length", "plans_length")
    return {name: getattr(task, name) for name in names}
