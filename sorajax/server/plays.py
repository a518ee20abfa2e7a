"""Playing over a WebSocket, `/v1/play`: each message is a JSON object, each frame a PNG.

    -> {"prompt": "a red ball on a grey floor", "world": "play", "seed": 3, "key": "sk-sorajax-..."}
    <- {"type": "begun", "fps": 8.0, "size": "64x64", "seed": 3, "seconds": 300.0}        and the first frame
    -> {"action": "right"}                                                                <- the next frame
    -> {"keep": true}                                    <- {"type": "kept", "video": {...}}, a finished video

A wrong message is answered with {"error": ...}, as elsewhere; so is what ends a play, before it is closed. Frames come
at the world's rate at most. The worlds run in a process of their own, so a play keeps no other answer waiting.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from sorajax.errors import Refused, one_line
from sorajax.safety.finishing import Safety
from sorajax.sampling.request import LARGEST_SEED
from sorajax.server.bodies import read_message
from sorajax.server.failures import BLOCKED, ApiError, invalid
from sorajax.server.fields import LONGEST_PROMPT, Whole, fields, video_answer
from sorajax.server.jobs import new_id
from sorajax.server.logs import log
from sorajax.server.options import ServeOptions
from sorajax.server.service import Service
from sorajax.server.workers import is_full

ACTIONS = ("nothing", "left", "right", "jump")
"""As in `world.actions`, which imports jax."""
WORLDS = ("play", "true")
"""The learned world, and the simulator that it learned from."""
IDLE = 120.0  # seconds without a key after which a play ends
LONGEST = 300.0  # seconds of a play
UNUSED = 300.0  # seconds after the last play when the process ends
LONGEST_MESSAGE = 2**17  # bytes
ENDED = 1008  # code of a connection that is closed with an error
Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)
router = APIRouter()
Begin = fields(
    "BeginPlay",
    "The first message of a play.",
    prompt=(str, Field(min_length=1, max_length=LONGEST_PROMPT)),
    world=(Literal[WORLDS], WORLDS[0]),
    seed=(Annotated[Whole, Field(ge=0, le=LARGEST_SEED)] | None, None),
    key=(str | None, Field(None, max_length=200)),
)
Move = fields(
    "MovePlay",
    "Every later message: the action of the next frame, or to keep what was played.",
    action=(Literal[ACTIONS] | None, None),
    keep=(bool, False),
)


class Plays:
    """The process of interactive sessions, and the plays in progress."""

    def __init__(self, options: ServeOptions):
        self.options = options
        self.going: set[str] = set()
        self.pool: Executor | None = None
        self.opening = asyncio.Lock()

    def open_pool(self) -> Executor:
        """Starts the process."""
        from sorajax.server.players import start  # imports jax, which the service has begun to do

        arguments = self.setting(), os.getpid()
        return ProcessPoolExecutor(1, get_context("spawn"), initializer=start, initargs=arguments)

    def setting(self) -> Any:
        """The settings of the process."""
        from sorajax.server.players import Setting

        data = self.options.data.expanduser()
        worlds = dict(zip(WORLDS, (self.options.play, "true"), strict=True))
        return Setting(worlds, self.options.files or str(data / "content"), data, self.options.policy)

    @contextmanager
    def place(self, name: str) -> Iterator[None]:
        """A place for a play. Raises ApiError, a 429, where all are taken."""
        most = self.options.max_plays
        if not most:
            raise ApiError(404, "nothing is played here: the server was started with --max-plays 0", None, "not_found")
        if len(self.going) >= most:
            message = f"{len(self.going)} plays are going on, of {most} that are allowed: try again when one has ended"
            raise ApiError(429, message, None, "plays_full")
        self.going.add(name)
        try:
            yield
        finally:
            self.going.discard(name)
            asyncio.get_running_loop().call_later(UNUSED, self.close_unused)

    async def call(self, work: str, *arguments: Any) -> Any:
        """Runs a function of `players` in the process. Raises ApiError for an invalid request and for a lost play."""
        from sorajax.server import players

        async with self.opening:
            pool = self.pool = self.pool or await run_in_threadpool(self.open_pool)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, getattr(players, work), *arguments)
        except BrokenExecutor as error:
            self.pool = None if self.pool is pool else self.pool
            log("the process that plays died", level="error", error=one_line(error))
            raise ApiError(503, "the process that plays has ended: begin a new play", None, "play_lost") from error
        except Refused as error:
            raise invalid(str(error), "prompt", BLOCKED) from error
        except ValueError as error:
            raise invalid(one_line(error), "prompt", "invalid_value") from error
        except OSError as error:
            if is_full(error):
                raise ApiError(507, "the server's disk is full: try again later", None, "disk_full") from error
            log("a play failed", level="error", error=one_line(error))
            raise ApiError(500, "the server failed: see its log", None, "internal") from error

    def close_unused(self) -> None:
        """Ends the process, if nobody plays."""
        if not self.going:
            self.close()

    def close(self) -> None:
        """Ends the process."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.pool = None


class Pace:
    """Keeps frames to a world's rate; one may come early, as clocks of clients are not exact."""

    def __init__(self, fps: float):
        self.interval, self.due = 1 / fps, 0.0

    async def wait(self) -> None:
        """Waits until the next frame is due."""
        time_now = time.monotonic()
        self.due = max(self.due, time_now - self.interval)
        await asyncio.sleep(max(0.0, self.due - time_now))
        self.due += self.interval


@router.websocket("/v1/play")
async def play(socket: WebSocket) -> None:
    """One play, from its first message until either side leaves."""
    await socket.accept()
    plays: Plays = socket.app.state.plays
    name, begun, code = new_id("play"), time.monotonic(), 1000
    try:
        first: Any = await received(socket, Begin, IDLE)
        owner = await run_in_threadpool(check, socket, first)
        with plays.place(name):
            try:
                await go_on(socket, plays, name, owner, first)
            finally:
                if plays.pool is not None:
                    await plays.call("end", name)
    except ApiError as error:
        code = ENDED
        await ended(socket, error)
    except WebSocketDisconnect:
        pass
    finally:
        log("play ended", play=name, code=code, seconds=round(time.monotonic() - begun, 1))


async def ended(socket: WebSocket, error: ApiError) -> None:
    """Sends the reason why a play ends, and closes the connection."""
    try:
        await socket.send_json(error.body)
        await socket.close(ENDED)
    except (WebSocketDisconnect, RuntimeError):  # the client was faster
        pass


def check(socket: WebSocket, first: Any) -> str:
    """The owner of the play. Raises ApiError for a wrong key, for a key that has used up its day, and for a prompt that
    is refused."""
    service: Service = socket.app.state.service
    header = socket.headers.get("authorization")
    owner = service.owner(f"Bearer {first.key}" if first.key else header)
    service.check_day(owner, 0.0)
    try:
        Safety(service.policy).check_prompts([first.prompt])
    except Refused as error:
        raise invalid(str(error), "prompt", BLOCKED) from error
    return owner


async def go_on(socket: WebSocket, plays: Plays, name: str, owner: str, first: Any) -> None:
    """Plays until the client leaves. Raises ApiError for the reason that ends the play."""
    seed = secrets.randbelow(LARGEST_SEED) if first.seed is None else first.seed
    found = await plays.call("begin_play", name, first.world, first.prompt, seed)
    size = f"{found.width}x{found.height}"
    await socket.send_json({"type": "begun", "fps": found.fps, "size": size, "seed": seed, "seconds": LONGEST})
    await socket.send_bytes(found.frame)
    pace, most, count, pressed = Pace(found.fps), LONGEST * found.fps, 1, time.monotonic()
    while True:
        left = pressed + IDLE - time.monotonic()
        try:
            move: Any = await received(socket, Move, left)
            if move.action is not None and count >= most:
                raise ApiError(409, f"a play lasts {LONGEST:g} seconds: keep it, or begin another", None, "play_full")
            if move.keep:
                service: Service = socket.app.state.service
                await run_in_threadpool(check_room, service, owner, count / found.fps)
                result, keys = await plays.call("keep", name)
                kept = await run_in_threadpool(service.jobs.add_finished, row_of(first, owner, seed, keys), result)
                await socket.send_json({"type": "kept", "video": video_answer(kept)})
            elif move.action is not None:
                await pace.wait()
                await socket.send_bytes(await plays.call("step", name, ACTIONS.index(move.action)))
                count += 1
            else:
                raise invalid("action is missing: give it, or keep", "action", "missing_field")
        except ApiError as error:
            if error.status in (408, 503):
                raise
            await socket.send_json(error.body)
            continue
        if move.keep or move.action != ACTIONS[0]:
            pressed = time.monotonic()


def row_of(first: Any, owner: str, seed: int, keys: str) -> dict[str, Any]:
    """The columns of `VIDEOS` for a play that is kept. keys: its actions, one letter a frame."""
    options = {"world": first.world, "keys": keys}
    spec = {"request": {"prompts": [first.prompt], "seed": seed}, "inputs": [], "options": options}
    return {"owner": owner, "model": first.world, "prompt": first.prompt, "task": "play", "spec": spec}


def check_room(service: Service, owner: str, seconds: float) -> None:
    """Raises ApiError if the disk is nearly full, or the key has used up its day."""
    service.check_room()
    service.check_day(owner, seconds)


async def received(socket: WebSocket, model: type[Model], seconds: float) -> Model:
    """The next message. Raises ApiError for a wrong one, and where none comes in time; WebSocketDisconnect."""
    try:
        message = await asyncio.wait_for(socket.receive(), max(0.0, seconds))
    except TimeoutError as error:
        raise ApiError(408, f"no key was pressed for {IDLE:g} seconds: the play has ended", None, "idle") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    if (text := message.get("text")) is None:
        raise invalid("the message is binary: send a JSON object as text")
    return read_message(text, model)
