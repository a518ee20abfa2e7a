"""Averages of the parameters whose width is chosen after training (Karras et al. 2024, EDM2, section 3 and appendix C).

A power-function average weighs the parameters at update tau with tau^gamma, so it forgets in proportion to its age:

    average(t) = (gamma + 1) / t^(gamma + 1) * integral_0^t tau^gamma params(tau) d tau
               = beta average(t - 1) + (1 - beta) params(t),          beta = (1 - 1/t)^(gamma + 1)

Its relative width is sigma = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)). A run keeps two of them, and snapshots of
both. A linear combination of snapshots has the profile sum_i x_i p_i(tau); the x whose profile is nearest to that of a
wanted sigma, in least squares, solve A x = b, where `A_ij = <p_i, p_j>`, `b_i = <p_i, p_wanted>` and

    <p_i, p_j> = (gamma_i + 1) (gamma_j + 1) min(t_i, t_j)^(gamma_i + gamma_j + 1)
                 / ((gamma_i + gamma_j + 1) t_i^(gamma_i + 1) t_j^(gamma_j + 1))
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sorajax.files import write_atomically
from sorajax.models.folder import STORAGE, Storage

WIDEST = 0.28  # a flat average has 1 / sqrt(12) = 0.2887
FOLDER = "averages"


class PowerAverages(NamedTuple):
    """The state of `track`: updates so far (int32) and, for each width, a tree like the parameters."""

    updates: jax.Array
    averages: tuple[Any, ...]


def exponent(sigma: float) -> float:
    """gamma of a relative width: the largest root of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / sigma^2."""
    square = sigma**-2
    return float(np.roots([1, 7, 16 - square, 12 - square]).real.max())


def check_widths(name: str, sigmas: Sequence[float]) -> None:
    """Raises ValueError for a width that no power function has, or that is given twice."""
    for sigma in sigmas:
        if not 0.005 <= sigma <= WIDEST:
            raise ValueError(f"{name} is {sigma:g}: a relative width must be in [0.005, {WIDEST:g}], e.g. 0.05 or 0.1")
    if len(set(sigmas)) < len(sigmas):
        raise ValueError(f"{name} names a width twice: {', '.join(f'{sigma:g}' for sigma in sigmas)}")


def track(sigmas: Sequence[float]) -> optax.GradientTransformation:
    """Changes no update; keeps the averages of the parameters that come out of it. Put it last in a chain."""
    gammas = tuple(exponent(sigma) for sigma in sigmas)

    def init(params: Any) -> PowerAverages:
        return PowerAverages(jnp.int32(0), tuple(jax.tree.map(jnp.copy, params) for _ in gammas))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, PowerAverages]:
        count, new = state.updates + 1, optax.apply_updates(params, updates)
        averages = tuple(moved(old, new, count, gamma) for old, gamma in zip(state.averages, gammas, strict=True))
        return updates, PowerAverages(count, averages)

    return optax.GradientTransformation(init, update)


def moved(average: Any, params: Any, count: jax.Array, gamma: float) -> Any:
    """The average after update number `count`, which made `params`."""
    share = -jnp.expm1((gamma + 1) * jnp.log1p(-1 / count.astype(jnp.float32)))  # 1 - beta, exact where it is tiny
    return jax.tree.map(lambda old, new: old + share * (new - old), average, params)


def averages_in(state: Any) -> PowerAverages | None:
    """The averages inside an optimizer's state, where some are tracked."""
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, PowerAverages))
    return next((leaf for leaf in leaves if isinstance(leaf, PowerAverages)), None)


@dataclass(frozen=True)
class Snapshot:
    """One tracked average at one moment: `tensors` are those of `file` whose names begin with `prefix`."""

    file: Path
    sigma: float
    updates: int

    @property
    def prefix(self) -> str:
        return f"{self.sigma:g}/"


def write_snapshot(
    directory: Path, step: int, averages: PowerAverages, sigmas: Sequence[float], storage: Storage = "float16"
) -> None:
    """Writes `directory/averages/STEP.safetensors`; it appears whole or not at all."""
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    flat = {
        f"{sigma:g}/{name}": np.ascontiguousarray(np.asarray(leaf).astype(STORAGE[storage]))
        for sigma, tree in zip(sigmas, jax.device_get(averages.averages), strict=True)
        for name, leaf in flatten_dict(tree, sep="/").items()
    }
    metadata = {"updates": str(int(averages.updates)), "sigmas": json.dumps(list(sigmas))}
    write_atomically(folder / f"{step:08}.safetensors", lambda path: save_file(flat, path, metadata))


def read_snapshots(run: Path, step: int | None = None) -> list[Snapshot]:
    """All snapshots of a run up to a step, oldest first. Raises FileNotFoundError and ValueError on one line."""
    files = sorted((run / FOLDER).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{run} holds no averages: train with --loop.optimizer.posthoc 0.05 0.1")
    if step is not None and not (files := [file for file in files if int(file.stem) <= step]):
        raise ValueError(f"{run} has no averages as early as step {step}: name a later step")
    found = []
    for file in files:
        try:
            with safe_open(file, "np") as opened:
                metadata = opened.metadata()
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged or cut short ({error}): delete it, the others suffice") from error
        found += [Snapshot(file, sigma, int(metadata["updates"])) for sigma in json.loads(metadata["sigmas"])]
    return [snapshot for snapshot in found if snapshot.updates > 0]


def products(
    gamma: Float[np.ndarray, "*n"],
    time: Float[np.ndarray, "*n"],
    other_gamma: Float[np.ndarray, "*n"],
    other_time: Float[np.ndarray, "*n"],
) -> Float[np.ndarray, "*n"]:
    """Inner products of profiles, in units of 1 / time; arguments broadcast."""
    least = np.minimum(time, other_time)
    falls = (gamma + 0.5) * np.log(least / time) + (other_gamma + 0.5) * np.log(least / other_time)
    scale = (gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1)
    return scale * np.exp(falls) / np.sqrt(time * other_time)


def solve(snapshots: Sequence[Snapshot], sigma: float, updates: int) -> tuple[Float[np.ndarray, " n"], float]:
    """The factor of each snapshot, and how far their profile is from the wanted one: 0 is exact, 1 nothing alike."""
    gammas = np.array([exponent(snapshot.sigma) for snapshot in snapshots])
    times = np.array([snapshot.updates for snapshot in snapshots], np.float64)
    wanted = exponent(sigma), np.float64(updates)
    a = products(gammas[:, None], times[:, None], gammas, times)
    b = products(gammas, times, *wanted)  # type: ignore[arg-type]
    size = np.sqrt(np.diag(a))  # unit profiles are better conditioned
    x = np.linalg.lstsq(a / np.outer(size, size), b / size, rcond=1e-14)[0] / size
    norm = products(*wanted, *wanted)  # type: ignore[arg-type]
    return x, float(np.sqrt(max(0.0, 1 + (x @ a @ x - 2 * x @ b) / norm)))


def combine(snapshots: Sequence[Snapshot], factors: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """The parameters, a nested dict of float32: the sum of all snapshots times their factors, in float64."""
    total: dict[str, np.ndarray] = {}
    for snapshot, factor in zip(snapshots, factors, strict=True):
        with safe_open(snapshot.file, "np") as file:
            for key in (key for key in file.keys() if key.startswith(snapshot.prefix)):  # noqa: SIM118 (no mapping)
                name, part = key.removeprefix(snapshot.prefix), factor * file.get_tensor(key).astype(np.float64)
                total[name] = part if name not in total else total[name] + part
    return unflatten_dict({name: leaf.astype(np.float32) for name, leaf in total.items()}, sep="/")


def replaced(params: dict[str, Any], averaged: dict[str, Any]) -> dict[str, Any]:
    """`params` with the trained parts replaced; parts that only training needs are left out.

    Raises ValueError where parts of the model, or no parts of it, are in the averages.
    """
    model, new = flatten_dict(params, sep="/"), flatten_dict(averaged, sep="/")
    groups = {name.split("/")[0] for name in new}
    if wrong := [
        name
        for name, leaf in model.items()
        if name.split("/")[0] in groups and getattr(new.get(name), "shape", None) != leaf.shape
    ]:
        raise ValueError(
            f"the averages do not fit the run's model: {wrong[0]} is not the same in both; they are of another run"
        )
    if not groups & {name.split("/")[0] for name in model}:
        raise ValueError(f"the averages have nothing of the run's model: they are of {', '.join(sorted(groups))}")
    return unflatten_dict({name: new.get(name, leaf) for name, leaf in model.items()}, sep="/")
