"""The options of `python -m sorajax.serve`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sorajax.errors import BadRequest
from sorajax.pretrained.presets import check_preset

ORIGIN = re.compile(r"https?://[\w.*-]+(:\d+|:\*)?")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServeOptions:
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own, e.g. 0.0.0.0, needs API keys: `serve keys add NAME`."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    data: Path = Path("serve")
    """Folder of the database, the videos and the uploaded files; created if it is missing."""
    database: str | None = None
    """postgresql://USER:PASSWORD@HOST/NAME, which several machines share; by default SQLite in --data."""
    files: str | None = None
    """Folder of videos and uploads that all machines see, or an fsspec address, e.g. s3://BUCKET/videos; by default in
    --data."""
    worker: bool = False
    """Only sample: take jobs from --database, and answer no requests."""
    workers: Literal[0, 1] = 1
    """1 samples on this machine, in a separate process; 0 leaves sampling to `--worker` on other machines."""
    model: str = "world"
    """The model, as for sorajax.sample."""
    lora: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An adapter, FILE or FILE:SCALE; may be given several times."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of open weights."""
    preset: str | None = None
    """Settings of a few-step adapter, as for sorajax.sample; by default those that the adapters' files name."""
    quantize: Literal["int8", "fp8"] | None = None
    """Stores weights in 8 bits."""
    mesh: str | None = None
    """How the devices of one machine split the work, e.g. data=2,seq=4; by default chosen for one clip."""
    batch: int | None = None
    """Most jobs of equal shape that are sampled together, in groups of 1, 2, 4, ...; by default 1 on CPU and 8 on
    accelerators."""
    require_keys: bool = False
    """Ask for API keys on 127.0.0.1, too: for a server behind a reverse proxy."""
    allow_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A name by which clients reach this server, e.g. videos.example.org; may be given several times. On 127.0.0.1
    other names are refused, so that no web page reaches it."""
    allow_origin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An origin whose pages may show the studio in a frame, e.g. http://localhost:8888 of a notebook, or through which
    it is reached, as a notebook's proxy; may be given several times."""
    trust_proxy: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Address of a reverse proxy whose X-Forwarded headers are believed; may be given several times."""
    image_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A host from which an image_url is fetched; may be given several times. By default only data URLs are taken."""
    play: str = "play"
    """The learned world of the studio's view Play, as for sorajax.play: `play`, or the folder of a training run."""
    max_plays: int = 2
    """Largest number of plays at a time; 0 switches playing off. They run on the CPU, in a separate process."""
    max_jobs: int = 200
    """Unfinished jobs per key."""
    max_seconds: float = 3600.0
    """Seconds of one video."""
    max_seconds_a_day: float | None = None
    """Seconds of video per key within 24 hours; by default any."""
    max_upload_mb: int = 100
    """Size of an uploaded file, in MB."""
    keep_days: float | None = None
    """Days for which a finished video is kept; by default for ever."""
    min_free_mb: int = 200
    """Below this space on the disk, in MB, new jobs are refused (507)."""
    webhook: str | None = None
    """Address to which an event is sent for each finished or failed video. The secret is in the environment variable
    SORAJAX_WEBHOOK_SECRET, as whsec_..."""
    drain: float = 60.0
    """Seconds that a running job may take after SIGTERM; then it is queued again."""
    policy: Path | None = None
    """A policy file in TOML, the settings of marks and filters (docs/safety.md); by default the user's."""
    log_prompts: bool = False
    """Write prompts into the log."""


def check(options: ServeOptions) -> None:
    """Raises BadRequest for a value out of range."""
    if not 0 <= options.port <= 65535:
        raise BadRequest(f"--port {options.port} is not allowed: use 0 to 65535, e.g. 8000")
    check_preset(options.preset)
    for origin in options.allow_origin:
        if not ORIGIN.fullmatch(origin):
            raise BadRequest(f"--allow-origin {origin} is no origin: write e.g. https://notebook.example.org")
    for name in ("max_jobs", "max_upload_mb", "batch", "max_seconds", "max_seconds_a_day", "keep_days"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise BadRequest(f"--{name.replace('_', '-')} {value:g} is not allowed: it must be above 0")
    if options.play != ServeOptions.play and not Path(options.play).is_dir():
        raise BadRequest(f"--play {options.play} does not exist: give the folder of a training run, or leave it out")
    if options.max_plays < 0:
        raise BadRequest(f"--max-plays {options.max_plays} is not allowed: it must be 0 or more")


@dataclass(frozen=True)
class AddKey:
    """Makes an API key, and prints it once."""

    name: tyro.conf.Positional[str]
    """Whose key it is, for your own list."""
    data: Path = Path("serve")
    """As for the server."""
    database: str | None = None
    """As for the server."""


@dataclass(frozen=True)
class RevokeKey:
    """Revokes an API key."""

    id: tyro.conf.Positional[str]
    """The key's id, key_..., as `list` shows it."""
    data: Path = Path("serve")
    """As for the server."""
    database: str | None = None
    """As for the server."""


@dataclass(frozen=True)
class ListKeys:
    """Lists API keys: id, date, name."""

    data: Path = Path("serve")
    """As for the server."""
    database: str | None = None
    """As for the server."""


KeyCommand = (
    Annotated[AddKey, tyro.conf.subcommand("add")]
    | Annotated[RevokeKey, tyro.conf.subcommand("revoke")]
    | Annotated[ListKeys, tyro.conf.subcommand("list")]
)
