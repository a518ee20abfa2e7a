"""A clip of ours restores its settings; its inputs come back by their content, or are named."""

import json

import pytest

from sorajax.media.video import Video
from sorajax.server.database import VIDEOS
from sorajax.server.engine import metadata_of
from sorajax.server.jobs import Job
from sorajax.server.studio.restore import restored
from sorajax.tasks.table import TASKS
from tests.server.conftest import PROMPT
from tests.server.studio.test_details import REQUESTS

STORED = "0123456789abcdef" * 4 + ".png"


def row_of(server, name):
    with server.service.database.connect() as connection:
        return connection.execute(VIDEOS.select().where(VIDEOS.c.id == name)).one()


def check_restored(server, first, metadata):
    """A video of the fields that the metadata restore has the same task, inputs and settings."""
    answer = server.http.post("/v1/studio/restore", json={"metadata": metadata})
    assert answer.status_code == 200, answer.text
    assert answer.json()["missing"] == []
    second = server.http.post("/v1/videos", json=answer.json()["fields"])
    assert second.status_code == 200, second.text
    one, two = row_of(server, first), row_of(server, second.json()["id"])
    assert (one.task, one.prompt) == (two.task, two.prompt)
    request, again = one.spec.pop("request"), two.spec.pop("request")
    assert one.spec == two.spec
    assert request.items() <= again.items()


EACH = pytest.mark.parametrize("fields", REQUESTS, ids=lambda fields: next((n for n in TASKS if n in fields), "text"))


@EACH
def test_the_metadata_of_a_job_restore_it(idle, picture, clip, fields):
    names = [
        idle.http.post("/v1/files", files={"file": (name, data)}, data={"purpose": "vision"}).json()["id"]
        for name, data in (("a.png", picture), ("b.mp4", clip.read_bytes()))
    ]
    text = json.dumps(fields).replace('"picture"', f'"{names[0]}"').replace('"id": "clip"', f'"file_id": "{names[1]}"')
    first = idle.http.post("/v1/videos", json=json.loads(text)).json()["id"]
    row = row_of(idle, first)
    request = row.spec["request"]
    settings = {name: value for name, value in request.items() if name not in ("prompts", "seconds")}
    job = Job(first, row.task, row.prompt, row.shape, row.spec)
    check_restored(idle, first, {"prompt": request["prompts"][0], **settings, **metadata_of(job)})


@pytest.mark.slow
@EACH
def test_the_file_of_a_video_restores_its_job(server, picture, tmp_path, fields):
    clip = server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "seed": 1}))["id"]
    file = server.http.post("/v1/files", files={"file": ("a.png", picture)}, data={"purpose": "vision"}).json()["id"]
    body = json.loads(json.dumps(fields).replace('"id": "clip"', f'"id": "{clip}"').replace('"picture"', f'"{file}"'))
    video = server.finished(server.http.post("/v1/videos", json=body))
    assert video["status"] == "completed", video["error"]
    path = tmp_path / "clip.mp4"
    path.write_bytes(server.http.get(f"/v1/videos/{video['id']}/content").content)
    check_restored(server, video["id"], Video.load(path).described())


def test_inputs_that_are_not_here_are_named():
    clip = {"task": "between", "prompt": PROMPT, "between": [STORED, "/home/a/last.png"], "seed": 3, "frames": 18}
    fields, missing = restored(clip, lambda name: {"file_id": "file_1"} if name == STORED else None)
    assert missing == [{"slot": "between.1", "file": "last.png"}]
    assert fields == {"seed": 3, "prompt": PROMPT, "between": [{"file_id": "file_1"}, None], "frames": 18}
    fields, missing = restored({**clip, "between": [STORED, STORED]}, lambda name: None)
    assert missing == [{"slot": "between.0", "file": None}, {"slot": "between.1", "file": None}]
    edit = {"prompt": PROMPT, "edit": "a.mp4", "mask": "mask.png", "strength": 0.5, "frames": 17, "trim": "0:1"}
    fields, missing = restored(edit, lambda name: None)
    assert [one["slot"] for one in missing] == ["edit.0", "mask"]
    assert fields == {"prompt": PROMPT, "edit": None, "strength": 0.5, "trim": "0:1"}


def test_a_film_of_the_command_line_becomes_scenes():
    shots = [{"prompt": "a ball", "frames": 16, "cut": False}, {"prompt": "a box", "frames": 8, "cut": True}]
    fields, missing = restored({"prompt": "a ball", "shots": shots, "fps": 8.0, "storyboard": "b.json"}, lambda _: None)
    assert (fields.pop("fps"), missing) == (8.0, [])
    wanted = [("a ball", 2.0, "continue"), ("a box", 1.0, "cut")]
    assert [tuple(scene.values()) for scene in fields["storyboard"]] == wanted


WRONG = (
    {"seed": "many", "steps": [1], "guidance_scale": True, "size": 3, "prompt": 5},
    {"task": "no task", "prompt": PROMPT, "extend": {"a": 1}, "trim": ["x"], "seconds_asked": {}},
    {"task": ["extend"], "storyboard": [1, {"prompt": 3, "seconds": "long", "image": 7}], "shots": "none"},
    {"task": "storyboard", "shots": [{"frames": "x"}, {"frames": -1}], "fps": "x"},
    {"edit": "a.mp4", "mask": {"deep": []}, "strength": "half", "frames": 2.5},
)


@pytest.mark.parametrize("metadata", WRONG)
def test_what_no_request_can_have_is_left_out(server, metadata):
    answer = server.http.post("/v1/studio/restore", json={"metadata": metadata})
    assert answer.status_code == 200, answer.text
    plain = {name: value for name, value in answer.json()["fields"].items() if name not in TASKS}
    assert set(plain) <= {"prompt"}


def test_metadata_that_are_no_object_are_refused(server):
    for metadata in (None, [], "text"):
        assert server.http.post("/v1/studio/restore", json={"metadata": metadata}).status_code == 400
