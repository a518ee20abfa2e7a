"""How well an interactive world follows actions, and whether it stays consistent, measured on its frames.

Random players hold keys in plays of random prompts. The object's place is read from the frames: the centroid of what is
brighter than any background. An action can have an effect where the true simulator, from the place that is read, would
have moved the object by it: left and right away from the edges of the frame, jump from the floor.

- control: of the frames with such an action, the share in which it has at least half of the true effect at once
- lag: frames from a change of keys to the first frame with the effect, at most LATEST
- inside: the share of frames in which the object is between the walls and above the floor, to TOLERANCE
- height: that of jumps that are not interrupted, beside the true one
- kept: plays whose last two seconds show the prompt's colour, shape, size and floor, as the instrument reads them
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Play
from sorajax.evaluation.world import wilson
from sorajax.interactive.session import Player, open_player
from sorajax.models.folder import PLAY
from sorajax.world.actions import (
    ACTIONS,
    JUMP,
    JUMPS,
    RUN,
    TAKE_OFF,
    TO_LEFT,
    TO_RIGHT,
    Limits,
    held_keys,
    limits_of,
    play_prompts,
    scene_of,
    steered_scenes,
)
from sorajax.world.physics import GRAVITY
from sorajax.world.reader.instrument import read
from sorajax.world.reader.places import places

TOLERANCE = 0.03  # units: two pixels at 64x64
LATEST = 4
TIMED = 60
"""Steps whose time is measured, of one play."""
BARS = {"control": 97.0, "kept": 95.0, "lag": 1.0, "frames/s": 12.0}


class Played(NamedTuple):
    """The frames of plays, and the actions; frame 0 is the one before the first action."""

    frames: UInt8[np.ndarray, "b t h w 3"]
    actions: Int[np.ndarray, "b t"]
    prompts: list[str]


def measure(options: Play) -> Measured:
    """Measures each world, and prints the table."""
    figures: dict[str, Any] = {}
    for name in options.worlds:
        player = open_player(name, options.steps, options.temperature)
        played = random_plays(player, options.num, round(options.seconds * player.fps), options.seed)
        figures[name] = judged(played, player.fps) | timed(player, options.seed)
    text = table(figures)
    print(text)
    weights = [PLAY if name == "play" else Path(name) for name in options.worlds if name != "true"]
    settings = f"num {options.num}, {options.seconds:g} s, seed {options.seed}"
    settings += "" if options.steps is None else f", {options.steps} evaluations a frame"
    settings += "" if options.temperature is None else f", temperature {options.temperature:g}"
    return Measured(figures, {"play": text}, settings, weights[0] if weights else markdown.NO_WEIGHTS)


def random_plays(player: Player, num: int, frames: int, seed: int) -> Played:
    """Plays of random prompts by players that hold random keys."""
    rng = np.random.default_rng(seed)
    prompts = play_prompts(steered_scenes(rng, num))
    actions = held_keys(rng, num, frames, player.fps)
    session = player.begin(prompts, seed)
    seen = [session.frame]
    for step in range(1, frames):
        seen.append(session.step(actions[:, step].tolist()))
    return Played(np.stack(seen, 1), actions, prompts)


def judged(played: Played, fps: float) -> dict[str, Any]:
    """The figures of some plays."""
    height, width = played.frames.shape[2:4]
    found: dict[str, list[bool]] = {name: [] for name in (*ACTIONS[1:], "inside", "kept")}
    lags, jumps = list[int](), list[float]()
    for frames, actions, prompt in zip(played.frames, played.actions, played.prompts, strict=True):
        limits = limits_of(scene_of(prompt), height, width)
        path = places(frames)
        effects = effects_of(path, actions, limits, fps)
        for name, had in effects.items():
            found[name].extend(had[~np.isnan(had)].astype(bool).tolist())
        found["inside"].extend(inside(path, limits).tolist())
        lags.extend(lags_of(effects, actions))
        jumps.extend(heights(path, actions, limits, fps))
        found["kept"].append(keeps(frames[-round(2 * fps) - 1 :], prompt, fps))
    shares = {name: share(values) for name, values in found.items()}
    control = float(np.mean([shares[name]["accuracy"] for name in ACTIONS[1:]]))
    return {
        "control": control,
        **shares,
        "lag": float(np.percentile(lags, 95)) if lags else None,
        "height": float(np.nanmedian(np.abs(np.array(jumps) / JUMP - 1))) if jumps else None,
        "jumps": len(jumps),
    }


def share(values: list[bool]) -> dict[str, Any]:
    """A share with its interval and number."""
    low, high = wilson(sum(values), len(values))
    return {"accuracy": sum(values) / max(1, len(values)), "low": low, "high": high, "num": len(values)}


def effects_of(
    path: Float[np.ndarray, "t xy"], actions: Int[np.ndarray, " t"], limits: Limits, fps: float
) -> dict[str, Float[np.ndarray, " t"]]:
    """For left, right and jump: 1 in frames where it had its effect, 0 where not, not a number where it could not."""
    before, change = path[:-1], np.diff(path, axis=0)
    step = RUN / fps
    rise = TAKE_OFF / fps - GRAVITY / 2 / fps**2
    left, right, ground = (float(side[0]) for side in limits)
    rests = np.abs(before[:, 1] - ground) < TOLERANCE
    possible = {
        TO_LEFT: before[:, 0] - left > step,
        TO_RIGHT: right - before[:, 0] > step,
        JUMPS: rests & (np.r_[False, np.abs(change[:-1, 1]) < TOLERANCE / 2]),
    }
    reached = {
        TO_LEFT: -change[:, 0] > step / 2,
        TO_RIGHT: change[:, 0] > step / 2,
        JUMPS: -change[:, 1] > rise / 2,
    }
    results = {}
    for action, could in possible.items():
        counts = could & (actions[1:] == action)
        results[ACTIONS[action]] = np.r_[np.nan, np.where(counts, reached[action], np.nan)]
    return results


def lags_of(effects: dict[str, Float[np.ndarray, " t"]], actions: Int[np.ndarray, " t"]) -> list[int]:
    """Frames from each new key to its effect, where it can have one; `LATEST` where there is none by then."""
    lags = []
    for t in np.flatnonzero(np.diff(actions)) + 1:
        if (name := ACTIONS[actions[t]]) not in effects or np.isnan(effects[name][t]):
            continue
        later = effects[name][t : t + LATEST]
        lags.append(int(np.argmax(later == 1)) if (later == 1).any() else LATEST)
    return lags


def inside(path: Float[np.ndarray, "t xy"], limits: Limits) -> np.ndarray:
    """Frames in which the object is between the walls and not below the floor."""
    left, right, ground = (float(side[0]) for side in limits)
    x, y = path.T
    return (x > left - TOLERANCE) & (x < right + TOLERANCE) & (y < ground + TOLERANCE)


def heights(path: Float[np.ndarray, "t xy"], actions: Int[np.ndarray, " t"], limits: Limits, fps: float) -> list[float]:
    """How high the object rose after each jump from the floor, in units."""
    ground = float(limits.ground[0])
    duration = round(2 * (2 * JUMP / GRAVITY) ** 0.5 * fps)
    starts = [t for t in np.flatnonzero(actions == JUMPS) if t + duration <= len(path) and t > 0]
    found, free = list[float](), 0
    for t in starts:
        if t >= free and abs(path[t - 1, 1] - ground) < TOLERANCE:
            found.append(float(path[t - 1, 1] - np.nanmin(path[t : t + duration, 1])))
            free = t + duration
    return found


def keeps(frames: UInt8[np.ndarray, "t h w 3"], prompt: str, fps: float) -> bool:
    """Whether the clip shows one object, with the colour, shape and size of the prompt, on its floor."""
    shot = read(frames, fps).words["shots"][0]
    if len(shot["objects"]) != 1:
        return False
    thing = shot["objects"][0]
    said = prompt.split()
    return all(word in said for word in (thing["colour"], thing["shape"], thing["size"], shot["background"]))


def timed(player: Player, seed: int) -> dict[str, float]:
    """Frames per second of one play, and the 95th percentile of the time from a key to its frame, in milliseconds."""
    session = player.begin(["a red ball on a grey floor"], seed)
    session.step([0])  # compiles
    seconds = []
    for number in range(TIMED):
        begun = time.perf_counter()
        session.step([number % len(ACTIONS)])
        seconds.append(time.perf_counter() - begun)
    return {"frames/s": 1 / float(np.median(seconds)), "latency": 1000 * float(np.percentile(seconds, 95))}


def table(figures: dict[str, Any]) -> str:
    """A row for each figure, a column for each world."""
    shown = (
        ("control: mean of left, right, jump", lambda row: f"{100 * row['control']:.1f} %", "at least 97 %"),
        *((name, lambda row, name=name: percent(row[name]), "") for name in ACTIONS[1:]),
        ("lag, 95th percentile", lambda row: none_or(row["lag"], "{:.0f} frames"), "at most 1"),
        ("between walls, above the floor", lambda row: percent(row["inside"]), ""),
        ("height of a jump, median error", lambda row: none_or(row["height"], "{:.1%}"), ""),
        ("colour, shape, size and floor kept", lambda row: percent(row["kept"]), "at least 95 %"),
        ("frames/s of one play", lambda row: f"{row['frames/s']:.1f}", "at least 12"),
        ("from key to frame, 95th percentile", lambda row: f"{row['latency']:.0f} ms", ""),
    )
    rows = [[name, *(show(row) for row in figures.values()), bar] for name, show, bar in shown]
    return markdown.table(["", *figures, "target"], rows)


def percent(found: dict[str, Any]) -> str:
    """A share with its interval."""
    return f"{100 * found['accuracy']:.1f} % ({100 * found['low']:.1f}-{100 * found['high']:.1f})"


def none_or(value: float | None, form: str) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else form.format(value)
