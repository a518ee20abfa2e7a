"""Average parameters: one training run's with a width chosen afterwards, or several models'. The command line.

    python -m sorajax.train configs/world_dit.py --loop.optimizer.posthoc 0.05 0.1
    python -m sorajax.average runs/world_dit --sigma 0.08 --out models/world-0.08
    python -m sorajax.sample "a red ball bounces" --model models/world-0.08
    python -m sorajax.average runs/first runs/second --shares 0.4 0.6 --out models/both

With --sigma RUN is a training directory that has `averages/`. The result is a model folder: the run's own, with other
weights. (Karras et al. 2024, EDM2, section 3.) Which width is best is found by trying: make several, and evaluate each.

Several runs, or exported models, are averaged as they are: where they began from the same weights, or one went on from
the other, the average is often better than each (Wortsman et al. 2022, "Model soups", section 3).

Exit codes: 0 done, 1 it failed, said in one line; 2 the command line is wrong.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

FURTHEST = 0.1
"""Distance from the wanted profile above which the result would be another average than the one that was asked for."""


@dataclass(frozen=True)
class Options:
    """What to average."""

    run: tyro.conf.Positional[tuple[Path, ...]]
    """A training directory whose optimizer.posthoc was set; or several models, training directories or exported."""
    out: Path
    """The folder to write; it must not exist, or be empty."""
    sigma: float | None = None
    """Of one run, the average's width relative to the length of training, e.g. 0.08."""
    shares: tuple[float, ...] = ()
    """Of several models, what each counts; together 1. By default they count the same."""
    step: int | None = None
    """The step whose average is wanted; none is the last one."""
    storage: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the written weights."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = tyro.cli(Options, prog="python -m sorajax.average", description=__doc__, args=argv)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return int(exit.code or 0)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        print(f"{options.out} exists and is not empty: name a new folder with --out", file=sys.stderr)
        return 2
    try:
        if len(options.run) > 1:
            average_models(options)
        else:
            average(options)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def average(options: Options) -> None:
    """Writes the model folder. Raises OSError and ValueError, each on one line."""
    from sorajax.models.folder import export_model, load_model, model_kind
    from sorajax.models.sora import SoraConfig
    from sorajax.models.vae import VAEConfig
    from sorajax.training.posthoc import check_widths, combine, read_snapshots, replaced, solve

    if not options.run or options.sigma is None or options.shares:
        raise ValueError(
            "one run is averaged with --sigma, several models without, and --shares are theirs: name a "
            "run and its --sigma, e.g. 0.08, or two models"
        )
    run, sigma = options.run[0], options.sigma
    check_widths("sigma", [sigma])
    snapshots = read_snapshots(run, options.step)
    if not (run / "model" / "config.json").is_file():
        raise FileNotFoundError(
            f"{run} has no model of its own beside its averages: it trained no whole one, or never saved"
        )
    whole = model_kind(run) == SoraConfig.__name__
    config, params, tokenizer = load_model(run, SoraConfig if whole else VAEConfig)
    updates = max(snapshot.updates for snapshot in snapshots)
    factors, error = solve(snapshots, sigma, updates)
    widths = sorted({snapshot.sigma for snapshot in snapshots})
    if error > FURTHEST:
        kept = " and ".join(f"{width:g}" for width in widths)
        raise ValueError(
            f"sigma {sigma:g} cannot be made of {len(snapshots)} snapshots of widths {kept}: its "
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
    """Writes the average of several models, with the first one's config and tokenizer. Raises OSError and ValueError,
    each on one line."""
    import jax
    import numpy as np

    from sorajax.models.folder import export_model, load_model, to_json
    from sorajax.models.sora import SoraConfig
    from sorajax.training.checkpoint import changes

    if options.sigma is not None or options.step is not None:
        raise ValueError("--sigma and --step are of one run, and there are several models: leave one of both out")
    shares = options.shares or (1 / len(options.run),) * len(options.run)
    if len(shares) != len(options.run) or abs(sum(shares) - 1) > 1e-6:
        said = " ".join(f"{share:g}" for share in shares)
        raise ValueError(f"--shares {said} of {len(options.run)} models: give one for each, and together 1")
    config, params, tokenizer = load_model(options.run[0], SoraConfig)
    averaged = jax.tree.map(lambda leaf: np.float32(shares[0]) * leaf, params)
    for folder, share in zip(options.run[1:], shares[1:], strict=True):
        other, params, words = load_model(folder, SoraConfig)
        if words != tokenizer:
            raise ValueError(f"{folder} has another tokenizer than {options.run[0]}: average models of one family")
        for part in ("text", "dit", "vae"):
            if said := changes(to_json(getattr(config, part)), to_json(getattr(other, part))):
                raise ValueError(f"{folder} is of another shape than {options.run[0]}{said}: average such of one shape")
        averaged = jax.tree.map(partial(weighed, share), averaged, params)
    export_model(options.out, averaged, config, tokenizer, options.storage)
    print(f"{options.out}: {', '.join(f'{share:g} of {run}' for share, run in zip(shares, options.run, strict=True))}")


def weighed(share: float, total: Any, leaf: Any) -> Any:
    """The total and a leaf's share."""
    return total + leaf * share
