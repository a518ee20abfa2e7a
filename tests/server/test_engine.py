"""Jobs of equal shape are sampled together, and a queue of mixed shapes compiles each program once."""

import jax
import numpy as np
import pytest

from sorajax.media.video import Video
from sorajax.server import engine as at_work
from sorajax.server import logs
from sorajax.server.content import Content
from sorajax.server.decoding import Limits
from sorajax.server.engine import Engine
from sorajax.server.jobs import Job, Jobs
from sorajax.server.processes import open_database
from sorajax.server.workers import Cancelled, Worker
from tests.server.toy import job

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def engine(pipeline, tmp_path):
    logs.SETTINGS["quiet"] = True
    return Engine(pipeline, Content(tmp_path / "content"), tmp_path / "windows", Limits())


@pytest.fixture
def jobs(tmp_path):
    return Jobs(open_database(tmp_path, None))


def add(jobs, prompt, seed, steps=2):
    request = {"prompts": [prompt], "seed": seed, "frames": 5, "steps": steps}
    return jobs.add(job(prompt, spec={"request": request, "inputs": [], "options": {}}, shape=f"{steps} steps"))["id"]


def work(jobs, engine, batch):
    """Samples until the queue is empty; returns the number of jobs of each round."""
    worker, rounds = Worker(jobs.engine, jobs, engine, batch), []
    while found := jobs.claim(worker.name, batch):
        rounds.append(len(found))
        worker.sample(found)
    return rounds


@pytest.fixture
def compilations():
    """The times of all programs that are compiled from now on."""
    times = []

    def listen(event, seconds, **_):
        if event == COMPILED:
            times.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return times


def test_jobs_that_are_sampled_together_are_the_videos_they_are_alone(jobs, engine):
    wishes = [(f"a {colour} ball bounces", seed) for seed, colour in enumerate(("red", "blue", "green"))]
    together = [add(jobs, *wish) for wish in wishes]
    assert work(jobs, engine, batch=4) == [2, 1]
    alone = [add(jobs, *wish) for wish in wishes]
    assert work(jobs, engine, batch=1) == [1, 1, 1]
    frames = []
    for one, other, (prompt, seed) in zip(together, alone, wishes, strict=True):
        videos = [Video.load(engine.content.path(jobs.get(name, "local")["file"])) for name in (one, other)]
        assert videos[0].metadata == videos[1].metadata
        assert (videos[0].metadata["prompt"], videos[0].metadata["seed"]) == (prompt, seed)
        frames.append([video.frames.astype(int) for video in videos])
    for number, (first, second) in enumerate(frames):  # mp4 makes more of differences in the last digits
        assert np.abs(first - second).mean() < 1
        assert np.abs(first - frames[number - 1][1]).mean() > 3


@pytest.mark.slow
def test_a_queue_of_mixed_shapes_compiles_each_program_once(jobs, engine, compilations):
    def queue():
        for seed, steps in enumerate((1, 3, 1, 3, 1, 3, 1)):
            add(jobs, "a red ball bounces", seed, steps)

    queue()
    assert work(jobs, engine, batch=2) == [2, 2, 2, 1]
    programs, compiled = len(engine.pipeline.codec.programs.compiled), len(compilations)
    assert compiled, "the first round of a shape compiles"
    queue()
    queue()
    assert work(jobs, engine, batch=2) == [2] * 7
    assert len(compilations) == compiled
    assert len(engine.pipeline.codec.programs.compiled) == programs


def test_engines_of_one_pipeline_report_their_steps_in_turn(pipeline, tmp_path):
    """The second one samples with the program that the first has compiled."""
    request = {"prompts": ["a red ball bounces"], "seed": 0, "frames": 5, "steps": 2}
    one, shares = Job("video_1", "text", "a red ball", "", {"request": request, "inputs": [], "options": {}}), []
    for name in ("first", "second"):
        engine = Engine(pipeline, Content(tmp_path / name / "content"), tmp_path / name / "windows", Limits())
        shares.append([])
        assert [job for job, _ in engine.run([one], shares[-1].append)] == [one]
    assert set(shares[0]) == set(shares[1]) != set()


@pytest.mark.slow
def test_programs_do_not_pile_up(jobs, engine, monkeypatch):
    monkeypatch.setattr(at_work, "MOST_PROGRAMS", 2)
    for steps in range(1, 5):
        add(jobs, "a red ball bounces", 0, steps)
    work(jobs, engine, batch=1)
    assert len(engine.pipeline.codec.programs.compiled) <= 2 + 3, "those of one job more"


def test_a_job_that_was_stopped_is_not_completed_where_the_program_ends_as_if_nothing_had_happened(
    jobs, engine, monkeypatch
):
    add(jobs, "a red ball", 1)
    (found,) = jobs.claim("worker", 1)
    stored = at_work.stored

    def late(*arguments):
        engine.steps.stopped = Cancelled()
        return stored(*arguments)

    monkeypatch.setattr(at_work, "stored", late)
    with pytest.raises(Cancelled):
        next(engine.run([found], lambda share: None))


def test_a_generator_that_is_closed_late_ends_no_later_reports():
    steps, earlier, later = at_work.Steps(), list[float](), list[float]()
    late = steps.reporting(earlier.append)
    late.__enter__()
    with steps.reporting(later.append):
        late.__exit__(None, None, None)
        steps.open(1, np.array([1.0, 0.5, 0.0]))
        steps.report(np.array(0.5))
    assert (earlier, later) == ([], [0.5])
