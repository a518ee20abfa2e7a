"""The fields of requests, read from the table of tasks, and the API's answers."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import UploadFile

from sorajax.sampling.request import Direction, SamplerName
from sorajax.server.failures import invalid
from sorajax.tasks.table import TASKS, Task

LONGEST_PROMPT = 20_000  # characters
LONGEST_NAME = 200


class Fields(BaseModel):
    """A request; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())


def check_upload(value: Any) -> Any:
    """Raises ValueError for anything but an upload from the reader of multipart bodies."""
    if value is not None and not isinstance(value, UploadFile):
        raise ValueError("upload the file as multipart/form-data")
    return value


class Reference(Fields):
    """A picture or clip: a file of `POST /v1/files`, a video of this server, a data URL, or an uploaded file."""

    file_id: str | None = Field(None, max_length=100)
    id: str | None = Field(None, max_length=100)
    image_url: str | None = None
    upload: SkipJsonSchema[Annotated[Any, BeforeValidator(check_upload)]] = None


class Named(Fields):
    """A character."""

    id: str = Field(max_length=100)


class SceneFields(Fields):
    """A scene of a storyboard."""

    prompt: str = Field(max_length=LONGEST_PROMPT)
    seconds: "Number"
    join: Literal["continue", "cut"] = "continue"
    image: "AnyReference | None" = None


def as_reference(value: Any) -> Any:
    """A string is an id or a data URL; an upload is a file."""
    if isinstance(value, UploadFile):
        return {"upload": value}
    if isinstance(value, str):
        if value.startswith("video_"):
            return {"id": value}
        return {"file_id": value} if value.startswith("file") else {"image_url": value}
    return value


def no_truth(value: Any) -> Any:
    """Refuses booleans as numbers, because pydantic reads true as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


def as_list(value: Any) -> Any:
    """A single entry of a form is a list of one."""
    return value if isinstance(value, list) or value is None else [value]


NUMBERS = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}]}
Number = Annotated[float, BeforeValidator(no_truth), Field(allow_inf_nan=False), WithJsonSchema(NUMBERS)]
Whole = Annotated[int, BeforeValidator(no_truth), WithJsonSchema({"type": "integer"})]
AnyReference = Annotated[Reference, BeforeValidator(as_reference)]
Pair = Annotated[list[AnyReference], Field(min_length=2, max_length=2)]
SceneFields.model_rebuild()

COMMON: dict[str, Any] = {
    "prompt": (str, Field("", max_length=LONGEST_PROMPT, description="what the video shows")),
    "model": (str | None, Field(None, max_length=300, description="the served model; sora-2 and sora-2-pro are taken")),
    "size": (str | None, Field(None, max_length=40, description="WIDTHxHEIGHT in pixels")),
    "width": (Whole | None, None),
    "height": (Whole | None, None),
    "fps": (Number | None, None),
    "seed": (Whole | None, Field(None, description="0 to 4294967295; by default chosen, and in the video's metadata")),
    "steps": (Whole | None, Field(None, description="denoising steps")),
    "num_inference_steps": (Whole | None, Field(None, description="the same as steps")),
    "guidance_scale": (Number | None, None),
    "guidance_scale_low": (Number | None, None),
    "guidance_scale_2": (Number | None, Field(None, description="the same as guidance_scale_low")),
    "shift": (Number | None, Field(None, description="timestep shift")),
    "flow_shift": (Number | None, Field(None, description="the same as shift")),
    "temperature": (Number | None, None),
    "sampler": (Literal[get_args(SamplerName)] | None, None),
    "negative": (str | None, Field(None, max_length=LONGEST_PROMPT, description="negative prompt")),
    "negative_prompt": (str | None, Field(None, max_length=LONGEST_PROMPT, description="the same as negative")),
    "style": (str | None, Field(None, max_length=LONGEST_NAME)),
    "priority": (Annotated[int, BeforeValidator(no_truth), Field(ge=-100, le=100)] | None, None),
}
LENGTH: dict[str, Any] = {
    "seconds": (Number | None, Field(None, description="length; it is rounded to one that the model makes")),
    "frames": (Whole | None, None),
    "num_frames": (Whole | None, Field(None, description="the same as frames")),
}
SAME = {
    "num_inference_steps": "steps",
    "guidance_scale_2": "guidance_scale_low",
    "flow_shift": "shift",
    "negative_prompt": "negative",
    "num_frames": "frames",
}
"""Other servers' names of fields -> ours."""
OPTIONS: dict[str, Any] = {
    "direction": (Literal[get_args(Direction)] | None, None),
    "gap": (str | None, Field(None, max_length=60, description="FROM:TO in seconds")),
    "strength": (Number | None, Field(None, description="0 keeps the clip, 1 ignores it")),
    "mask": (AnyReference | None, None),
    "trim": (str | None, Field(None, max_length=60, description="FROM:TO in seconds of the first clip")),
}
"""Options of tasks."""


def field_of(task: Task) -> Any:
    """The field with a task's inputs."""
    description = Field(None, description=task.summary)
    if not task.inputs:
        return (bool | None, description)
    if task.inputs == ("scenes",):
        scenes = Annotated[list[SceneFields], BeforeValidator(as_list), Field(min_length=1, max_length=1000)]
        return (scenes | None, description)
    return (Pair if len(task.inputs) == 2 else AnyReference) | None, description


def options_of(*tasks: Task) -> dict[str, Any]:
    """The fields of the tasks' options."""
    names = {name for task in tasks for name in (*task.options, *["trim"] * task.trims)}
    return {name: OPTIONS[name] for name in OPTIONS if name in names}


def fields(title: str, doc: str, /, **more: Any) -> type[Fields]:
    """A request with these fields."""
    made: type[Fields] = create_model(title, __base__=Fields, __doc__=doc, **more)
    return made


PROMPT = {"prompt": (str, Field(max_length=LONGEST_PROMPT, description="what the video shows"))}
CHOSEN = [task for task in TASKS.values() if task is not TASKS["text"]]
Create = fields(
    "CreateVideo",
    "A new video. At most one of the tasks' fields is set; without one it is text to video.",
    **COMMON,
    **LENGTH,
    **{task.name: field_of(task) for task in CHOSEN},
    input_reference=(AnyReference | None, Field(None, description="the same as image")),
    characters=(
        Annotated[list[Named], BeforeValidator(as_list), Field(max_length=1)] | None,
        Field(None, description="the video begins with this character's frame"),
    ),
    **options_of(*CHOSEN),
)
Remix = fields(
    "RemixVideo", "A finished video, changed by another prompt.", **{**COMMON, **PROMPT}, **options_of(TASKS["edit"])
)
Edit = fields(
    "EditVideo",
    "A clip, changed by a prompt.",
    **{**COMMON, **PROMPT},
    video=(AnyReference, ...),
    **options_of(TASKS["edit"]),
)
Extend = fields(
    "ExtendVideo",
    "A clip with a new part.",
    **{**COMMON, **PROMPT},
    video=(AnyReference, ...),
    seconds=(Number, Field(description="length of the new part")),
    **options_of(TASKS["extend"]),
)
Character = fields(
    "CreateCharacter",
    "A named clip. A later video may begin with its first frame; nothing is learned from it.",
    name=(str, Field(min_length=1, max_length=LONGEST_NAME)),
    video=(AnyReference, ...),
)
NewFile = fields(
    "CreateFile",
    "A picture or clip.",
    file=(AnyReference, ...),
    purpose=(str, Field("vision", max_length=60)),
)
ProvenanceCheck = fields("CreateProvenanceCheck", "A picture or video to check.", file=(AnyReference, ...))
Change = fields(
    "ChangeVideo",
    "Changes a queued video.",
    priority=(Annotated[int, BeforeValidator(no_truth), Field(ge=-100, le=100)], ...),
)


def chosen_task(values: Fields) -> Task:
    """The task whose field is set. Raises ApiError for two of them."""
    names = [name for name in TASKS if getattr(values, name, None)]
    reference = getattr(values, "input_reference", None) or getattr(values, "characters", None)
    if reference and "image" not in names:
        names.append("image")
    if len(names) > 1:
        raise invalid(f"{' and '.join(names)} are different tasks: give one of them", names[1])
    return TASKS[names[0] if names else "text"]


class VideoError(BaseModel):
    """Why a video failed."""

    code: str
    message: str
    param: str | None = None
    type: str | None = None


class VideoAnswer(BaseModel):
    """A job and its result; times are seconds since 1970."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    seconds: str
    size: str
    remixed_from_video_id: str | None
    error: VideoError | None
    task: str
    priority: int


class VideoPage(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[VideoAnswer]
    has_more: bool
    first_id: str | None
    last_id: str | None


def video_answer(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `VIDEOS` as the API shows it."""
    return {
        "id": row["id"],
        "object": "video",
        "model": row["model"],
        "status": row["status"],
        "progress": row["progress"],
        "created_at": int(row["created_at"]),
        "completed_at": None if row["completed_at"] is None else int(row["completed_at"]),
        "expires_at": None if row["expires_at"] is None else int(row["expires_at"]),
        "prompt": row["prompt"],
        "seconds": f"{row['seconds']:g}",
        "size": row["size"],
        "remixed_from_video_id": row["remixed_from"],
        "error": row["error"],
        "task": row["task"],
        "priority": row["priority"],
    }
