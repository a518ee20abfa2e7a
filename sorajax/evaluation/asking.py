"""Runs the rows of `evaluation/tasks.py` with a model: each call of a row becomes a request and a task."""

from dataclasses import fields
from typing import Any

from sorajax import tasks
from sorajax.devices.distributed import sharing
from sorajax.devices.exchange import gather_objects
from sorajax.errors import BadRequest
from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.evaluation.options import Tasks
from sorajax.evaluation.tasks import ROWS, Ask, Clip, Figure, Row, evaluate_tasks, lines
from sorajax.media.video import Video
from sorajax.sampling.loading import load
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request, StoryboardScene

DECIMALS = {"%": "{:.0f}%", "x": "{:.2f}x", "of 255": "{:.0f} of 255"}
"""Formats of figures by unit; other units have one decimal."""


def measure(options: Tasks) -> Measured:
    """Measures the rows of the options and prints each. Raises BadRequest for an unknown row."""
    names = [name for name in ROWS if not options.rows or any(part in name for part in options.rows)]
    if not names:
        raise BadRequest(f"--rows {' '.join(options.rows)}: no such row; use some of {', '.join(ROWS)}")
    pipeline = load(options.model, mesh=options.mesh)
    ask, rows = asking(pipeline, options.temperature), {}
    processes = sharing(options.mesh)
    mine = processes.share(names)
    for name, row in evaluate_tasks(ask, options.num, options.seed, pipeline.config.fps, mine, options.seconds):
        rows[name] = row
        print("\n".join(lines(name, row)), flush=True)
    if processes.count > 1:
        found = {name: row for part in gather_objects(rows) for name, row in part.items()}
        rows = {name: found[name] for name in names}
        others = [name for name in names if name not in mine]
        print("\n".join(line for name in others for line in lines(name, rows[name])), flush=True)
    figures = {
        name: {what: {**figure._asdict(), "met": figure.met} for what, figure in row.items()}
        for name, row in rows.items()
    }
    plan = pipeline.plan(Request(("a red ball",), seed=options.seed, temperature=options.temperature))
    settings = f"num {options.num}, seed {options.seed}, {sampling_text(plan)}"
    return Measured(figures, {options.tables[0]: table(rows)}, settings, markdown.folder_of(options.model))


def asking(pipeline: Pipeline, temperature: float | None) -> Ask:
    """The function that makes the clips of the rows: settings that are fields of a request go there, others to the
    task."""

    def ask(task: str, prompt: str, seed: int, *inputs: Any, **settings: Any) -> Clip:
        own = {field.name: settings.pop(field.name) for field in fields(Request) if field.name in settings}
        request = Request((prompt or "storyboard",), seed=seed, temperature=temperature, **own)
        if "scenes" in settings:
            settings["scenes"] = [
                StoryboardScene(text, s, "cut" if cut else "continue") for text, s, cut in settings["scenes"]
            ]
        videos = [Video(frames, pipeline.config.fps) for frames in inputs]
        return next(getattr(tasks, task)(pipeline, request, *videos, **settings)).whole().frames

    return ask


def table(rows: dict[str, Row]) -> str:
    """The rows as a table for a page: a line per figure, with its bar and whether it is met."""
    found = [(name, what, figure) for name, row in rows.items() for what, figure in row.items()]
    first = {name: next(iter(row)) for name, row in rows.items()}
    return markdown.table(
        ["request", "measured in the world", "result", "bar"],
        [[name if what == first[name] else "", what, shown(figure), bar(figure)] for name, what, figure in found],
    )


def shown(figure: Figure) -> str:
    return DECIMALS.get(figure.unit, f"{{:.1f}} {figure.unit}").format(figure.value)


def bar(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    side = "at least" if figure.least else "at most"
    return f"{side} {figure.bar:g}, {'met' if figure.met else 'not met'}"
