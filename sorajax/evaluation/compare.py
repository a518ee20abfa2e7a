"""Compares models, several runs of each, from the files that `sorajax.evaluate world --json` wrote of them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Compare
from sorajax.evaluation.world import percent, wilson
from sorajax.files import as_path

Summary = dict[str, dict[str, float]]
STATED = ("background", "colour", "shape", "size", "motion", "pace")
"""Attributes that every prompt of one object states."""
TOGETHER = "attributes together"


def measure(options: Compare) -> Measured:
    """Prints the accuracies of each model over all its runs, with intervals, and whole prompts of each run. Intervals
    are of all clips as independent ones; how much runs differ is not in them. Raises ValueError for files that are of
    no use, and where names do not say which files are of one model."""
    runs: dict[str, list[Summary]] = {}
    for path in options.files:
        runs.setdefault(model_of(path), []).append(read(path, options.split))
    if len({path.stem for path in options.files}) < len(options.files):
        raise ValueError("two of the files have one name, which says the model and the run: give each its own")
    num = {summary["prompt"]["num"] for summaries in runs.values() for summary in summaries}
    if len(num) > 1:
        raise ValueError(f"the files have {min(num)} to {max(num)} clips: measure all models with the same --num")
    found = {model: pooled(summaries) for model, summaries in runs.items()}
    text = table(runs, found)
    print(text, end="")
    settings = f"split {options.split}, {num.pop()} clips of each run; intervals as if all were independent"
    return Measured({"compare": found}, {options.table: text}, settings)


def model_of(path: Path) -> str:
    """The name of a file without its suffix and the number of the run: true-0.json and true-1.json are of `true`."""
    return re.sub(r"[-_]\d+$", "", path.stem)


def read(path: Path, split: str) -> Summary:
    """The accuracies of a split. Raises ValueError for a missing file, one of another command or without it."""
    try:
        content = json.loads(as_path(path).read_text())
        summary: Summary = content[split]
        summary["prompt"]["num"]
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist: write it with sorajax.evaluate world --json {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} has no clips of the split {split}: write it with sorajax.evaluate world --splits {split} --json"
        ) from error
    return summary


def pooled(summaries: Sequence[Summary]) -> Summary:
    """The accuracies of all runs together, with intervals."""
    found = {name: added([summary[name] for summary in summaries if name in summary]) for name in summaries[0]}
    if all(name in found for name in STATED):
        found[TOGETHER] = added([found[name] for name in STATED])
    return found


def added(accuracies: Sequence[dict[str, float]]) -> dict[str, float]:
    """The accuracy on all clips of several accuracies."""
    num = sum(int(one["num"]) for one in accuracies)
    right = sum(round(one["accuracy"] * one["num"]) for one in accuracies)
    low, high = wilson(right, num)
    return {"accuracy": right / num, "low": low, "high": high, "num": num}


def table(runs: dict[str, list[Summary]], found: dict[str, Summary]) -> str:
    """A column for each model, a row for each attribute that all have, and whole prompts of each run."""
    names = [name for name in next(iter(found.values())) if all(name in one for one in found.values())]
    rows = [[name, *(percent(one[name]) for one in found.values())] for name in names]
    each = [", ".join(percent(one["prompt"], interval=False) for one in summaries) for summaries in runs.values()]
    return markdown.table(["attribute", *found], [*rows, ["prompt, each run", *each]])
