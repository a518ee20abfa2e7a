"""Averages parameters: of one training run, with an EMA width chosen after training, or of several models.

    python -m sorajax.train configs/world_dit.py --loop.optimizer.posthoc 0.05 0.1
    python -m sorajax.average runs/world_dit --sigma 0.08 --out models/world-0.08
    python -m sorajax.sample "a red ball bounces" --model models/world-0.08
    python -m sorajax.average runs/first runs/second --shares 0.4 0.6 --out models/both

With --sigma, RUN is a training directory with a folder `averages/`. The result is a model folder: the run's model with
other weights (Karras et al. 2024, EDM2, section 3). The best width is found by evaluating several.

Several runs or exported models are averaged directly. If they started from the same weights, or one continued the
training of another, the average is often better than each model (Wortsman et al. 2022, "Model soups", section 3).

Exit codes: 0 done; 1 failed, with one line on stderr; 2 the command line is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest

MAX_PROFILE_ERROR = 0.1
"""Relative distance from the requested averaging profile above which the command refuses."""


@dataclass(frozen=True)
class Options:
    """What to average."""

    run: tyro.conf.Positional[tuple[Path, ...]]
    """One training directory that was trained with optimizer.posthoc; or several training directories or exported
    models."""
    out: Path
    """The folder to write; it must be empty or not exist."""
    sigma: float | None = None
    """For one run: width of the average relative to the length of training, e.g. 0.08."""
    shares: tuple[float, ...] = ()
    """For several models: the weight of each in the average; the sum must be 1. By default all are equal."""
    step: int | None = None
    """For one run: the step at which the average ends; by default the last one."""
    storage: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    """Type of the written weights; int8 is for interactive models."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(Options, "python -m sorajax.average", argv, __doc__)
    except SystemExit as exit:  # tyro has shown the help
        return int(exit.code or 0)
    except BadRequest as error:
        return complain(error, 2)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        return complain(f"{options.out} exists and is not empty: name a new folder with --out", 2)
    try:
        if len(options.run) > 1:
            average_models(options)
        else:
            average(options)
    except (OSError, ValueError) as error:
        return complain(error, 1)
    return 0


def average(options: Options) -> None:
    """Writes the model folder. Raises OSError and ValueError, each on one line."""
    from sorajax.models.folder import export_model, load_model, model_kind
    from sorajax.models.sora import SoraConfig
    from sorajax.models.vae import VAEConfig
    from sorajax.training.posthoc import check_widths, combine, read_snapshots, replaced, solve

    if not options.run or options.sigma is None or options.shares:
        raise ValueError(
            "one run needs --sigma, and --shares are for several models: give a run and --sigma, e.g. 0.08, "
            "or two models"
        )
    run, sigma = options.run[0], options.sigma
    check_widths("sigma", [sigma])
    snapshots = read_snapshots(run, options.step)
    if not (run / "model" / "config.json").is_file():
        raise FileNotFoundError(
            f"{run} has averages but no model: it did not train a whole model, or never saved one; give another run"
        )
    whole = model_kind(run) == SoraConfig.__name__
    config, params, tokenizer = load_model(run, SoraConfig if whole else VAEConfig)
    updates = max(snapshot.updates for snapshot in snapshots)
    factors, error = solve(snapshots, sigma, updates)
    widths = sorted({snapshot.sigma for snapshot in snapshots})
    if error > MAX_PROFILE_ERROR:
        snapshot_widths = " and ".join(f"{width:g}" for width in widths)
        raise ValueError(
            f"sigma {sigma:g} cannot be made of {len(snapshots)} snapshots of widths {snapshot_widths}: its "
            f"profile would be {error:.0%} off; use a sigma near those, or train with a smaller "
            "optimizer.snapshot_every"
        )
    averaged = combine(snapshots, factors)
    params = replaced(params, averaged) if whole else {"vae": replaced(params["vae"], averaged)}
    export_model(options.out, params, config, tokenizer, options.storage)
    print(
        f"{options.out}: sigma {sigma:g} at {updates} updates, from {len(snapshots)} snapshots, profile {error:.1%} off"
    )


def average_models(options: Options) -> None:
    """Writes the weighted mean of several models, which are all for videos or all interactive, with the first one's
    config and tokenizer. Raises OSError and ValueError, each on one line."""
    import jax
    import numpy as np

    from sorajax.models.folder import export_model, load_model, model_kind, to_json
    from sorajax.models.play import PlayConfig
    from sorajax.models.sora import SoraConfig
    from sorajax.training.checkpoint import changes

    if options.sigma is not None or options.step is not None:
        raise ValueError("--sigma and --step are for one run, and several models are given: leave them out")
    shares = options.shares or (1 / len(options.run),) * len(options.run)
    if len(shares) != len(options.run) or abs(sum(shares) - 1) > 1e-6:
        values = " ".join(f"{share:g}" for share in shares)
        raise ValueError(f"--shares {values} for {len(options.run)} models: give one per model, with a sum of 1")
    interactive = model_kind(options.run[0]) == PlayConfig.__name__
    if options.storage == "int8" and not interactive:
        raise ValueError(f"--storage int8 and {options.run[0]} is no interactive model: use bfloat16 or float16")
    kind, parts = (PlayConfig, ("dit",)) if interactive else (SoraConfig, ("text", "dit", "vae"))
    config, params, tokenizer = load_model(options.run[0], kind)
    averaged = jax.tree.map(lambda leaf: np.float32(shares[0]) * leaf, params)
    for folder, share in zip(options.run[1:], shares[1:], strict=True):
        other, params, words = load_model(folder, kind)
        if words != tokenizer:
            raise ValueError(f"{folder} has another tokenizer than {options.run[0]}: average models with the same one")
        for part in parts:
            if differences := changes(to_json(getattr(config, part)), to_json(getattr(other, part))):
                raise ValueError(
                    f"{folder} has another shape than {options.run[0]}{differences}: average models of the same shape"
                )
        if params.keys() != averaged.keys():
            found, first = ("+".join(sorted(one)) for one in (params, averaged))
            raise ValueError(
                f"{folder} has the weights {found} and {options.run[0]} has {first}: average models with the same parts"
            )
        averaged = jax.tree.map(partial(add_scaled, share), averaged, params)
    export_model(options.out, averaged, config, tokenizer, options.storage)
    print(f"{options.out}: {', '.join(f'{share:g} of {run}' for share, run in zip(shares, options.run, strict=True))}")


def add_scaled(share: float, total: Any, leaf: Any) -> Any:
    """total + share * leaf."""
    return total + leaf * share
