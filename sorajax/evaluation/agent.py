"""Whether a policy trained only in a learned world can do its task in the simulator.

The task is that of `world/reaching.py`. A policy reads the instrument's features of frames, in both worlds the same.
For each seed one policy is trained in each world, on as many frames, and all are scored in the simulator, in the same
episodes: the return is the sum of rewards, discounted by 0.95 a frame, so that what is done sooner counts more. Its
ratio to the return of the policy trained in the simulator is taken by seed. 95% intervals are Student's, over seeds.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Agent
from sorajax.interactive.reaching import LENGTH
from sorajax.interactive.session import Player, TrueWorld, open_player
from sorajax.models.folder import PLAY
from sorajax.training.policy import Act, Episode, PolicyConfig, begin, likeliest, play, returns, train
from sorajax.world.actions import ACTIONS, held_keys
from sorajax.world.reaching import AT_SIDE, DONE

TRUTH = "true"
LAST = 5
"""Updates whose episodes give the return at the end of training, in the world of the training."""


def measure(options: Agent) -> Measured:
    """Trains and scores the policies, and prints the table."""
    config = PolicyConfig(frames=options.frames)
    true = TrueWorld()
    players = {name: true if name == TRUTH else open_player(name) for name in dict.fromkeys((TRUTH, *options.worlds))}
    figures: dict[str, Any] = {"random actions": [], "random keys that are held": []}
    figures |= {name: [] for name in players}
    for seed in range(options.seed, options.seed + options.seeds):
        rng = np.random.default_rng(seed)
        keys = held_keys(rng, options.num, LENGTH + 1, true.fps)[:, 1:]
        chosen = rng.integers(0, len(ACTIONS), keys.shape)
        figures["random actions"].append(scored(true, partial(pressed, chosen), options.num, seed, config))
        figures["random keys that are held"].append(scored(true, partial(pressed, keys), options.num, seed, config))
        for name, player in players.items():
            figures[name].append(one_training(player, true, config, options.num, seed))
            print(
                f"seed {seed}, trained in {name}: return {figures[name][-1]['return']:.3f} in the simulator", flush=True
            )
    text = table(figures)
    print(text)
    weights = [PLAY if name == "play" else Path(name) for name in players if name != TRUTH]
    settings = f"{options.seeds} seeds from {options.seed}, {config.updates * config.plays * LENGTH} frames each, "
    settings += f"num {options.num}"
    return Measured(figures, {"agent": text}, settings, weights[0] if weights else markdown.NO_WEIGHTS)


def pressed(keys: np.ndarray, features: Any, frame: int) -> np.ndarray:
    """The actions [b t] of a player who does not see the frames."""
    actions: np.ndarray = keys[:, frame]
    return actions


def one_training(player: Player, true: Player, config: PolicyConfig, num: int, seed: int) -> dict[str, Any]:
    """The figures of a policy that is trained in `player`."""
    begun = time.perf_counter()
    params, history = train(player, config, seed)
    figures = {"own": float(np.mean(history[-LAST:])), "minutes": (time.perf_counter() - begun) / 60}
    return scored(true, partial(likeliest, config, params), num, seed, config) | figures


def scored(true: Player, act: Act, num: int, seed: int, config: PolicyConfig) -> dict[str, float]:
    """The mean return of `num` episodes, and the shares in which the side and then the height were reached."""
    episode: Episode = play(begin(true, num, 1_000_000 + seed), act)
    return {
        "return": float(returns(episode.rewards, config.discount).mean()),
        "side": float(np.mean(episode.stage >= AT_SIDE)),
        "height": float(np.mean(episode.stage == DONE)),
    }


def interval(values: list[float]) -> tuple[float, float, float]:
    """The mean over seeds, and Student's interval of 95% around it; of one seed alone the interval is the mean."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def table(figures: dict[str, Any]) -> str:
    """A row for each policy."""
    truth = [row["return"] for row in figures[TRUTH]]
    rows = []
    for name, found in figures.items():
        ratios = [100 * row["return"] / max(own, 1e-9) for row, own in zip(found, truth, strict=True)]
        trained = "own" in found[0]
        rows.append(
            [
                f"trained in `{name}`" if trained else name,
                spread([row["return"] for row in found], "{:.3f}"),
                "" if name == TRUTH else spread(ratios, "{:.1f}") + " %",
                *(f"{100 * np.mean([row[part] for row in found]):.1f} %" for part in ("side", "height")),
                spread([row["own"] for row in found], "{:.3f}") if trained else "",
                f"{np.mean([row['minutes'] for row in found]):.1f}" if trained else "",
            ]
        )
    header = ["policy", "return in the simulator", "of that trained in it", "side", "side, then height"]
    return markdown.table([*header, "return in its own world", "minutes of training"], rows)


def spread(values: list[float], form: str) -> str:
    """A mean with its interval."""
    mean, low, high = (form.format(value) for value in interval(values))
    return f"{mean} ({low}-{high})"
