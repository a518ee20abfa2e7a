"""What a video was asked for makes it again, and a finished one is a file with a name; other keys see neither."""

import json

import pytest

from sorajax.media.video import Video
from sorajax.server.database import VIDEOS
from sorajax.tasks.table import TASKS
from tests.cases import slow_after
from tests.server.conftest import PROMPT

REQUESTS = (
    {"prompt": PROMPT, "seed": 3, "style": "film", "size": "24x16", "steps": 1, "negative": "a box"},
    {"prompt": PROMPT, "loop": True, "frames": 8},
    {"prompt": PROMPT, "image": {"file_id": "picture"}},
    {"prompt": PROMPT, "extend": {"id": "clip"}, "seconds": 1, "direction": "both", "trim": "0.1:0.5"},
    {"prompt": PROMPT, "between": [{"file_id": "picture"}, {"id": "clip"}]},
    {"prompt": PROMPT, "fill": {"id": "clip"}, "gap": "0.2:0.4"},
    {"prompt": PROMPT, "edit": {"id": "clip"}, "strength": 0.5, "mask": {"file_id": "picture"}},
    {
        "storyboard": [
            {"prompt": "a ball", "seconds": 1, "join": "continue"},
            {"prompt": "a box", "seconds": 1, "join": "cut", "image": {"file_id": "picture"}},
        ],
        "style": "film",
    },
)


@pytest.mark.parametrize(
    "fields", slow_after(4, REQUESTS), ids=lambda fields: next((n for n in TASKS if n in fields), "text")
)
def test_what_a_video_was_asked_for_makes_the_same_job(server, picture, fields):
    clip = server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "seed": 1}))["id"]
    file = server.http.post("/v1/files", files={"file": ("a.png", picture)}, data={"purpose": "vision"}).json()["id"]
    body = json.loads(json.dumps(fields).replace('"id": "clip"', f'"id": "{clip}"').replace('"picture"', f'"{file}"'))
    first = server.http.post("/v1/videos", json=body)
    assert first.status_code == 200, first.text
    again = server.http.get(f"/v1/videos/{first.json()['id']}/request").json()["fields"]
    second = server.http.post("/v1/videos", json=again)
    assert second.status_code == 200, second.text
    with server.service.database.connect() as connection:
        rows = [
            connection.execute(VIDEOS.select().where(VIDEOS.c.id == answer.json()["id"])).one()
            for answer in (first, second)
        ]
    assert rows[0].spec == rows[1].spec
    assert (rows[0].task, rows[0].prompt) == (rows[1].task, rows[1].prompt)


def test_a_reference_to_a_deleted_file_is_null(server, picture):
    file = server.http.post("/v1/files", files={"file": ("a.png", picture)}, data={"purpose": "vision"}).json()["id"]
    name = server.http.post("/v1/videos", json={"prompt": PROMPT, "image": {"file_id": file}}).json()["id"]
    server.http.delete(f"/v1/files/{file}")
    server.service.database.dispose()
    others = [one["id"] for one in server.http.get("/v1/files").json()["data"]]
    for other in others:
        server.http.delete(f"/v1/files/{other}")
    assert server.http.get(f"/v1/videos/{name}/request").json()["fields"]["image"] is None


@pytest.mark.parametrize("format", slow_after(1, ["mp4", "gif", "webp"]))
def test_a_download_has_a_name_and_its_settings(server, tmp_path, format):
    video = server.finished(server.http.post("/v1/videos", json={"prompt": f"{PROMPT}: \"'é", "seed": 7}))
    answer = server.http.get(f"/v1/videos/{video['id']}/download?format={format}")
    assert answer.headers["content-disposition"] == f'attachment; filename="a_red_ball_bounces_7.{format}"'
    path = tmp_path / f"clip.{format}"
    path.write_bytes(answer.content)
    clip = Video.load(path)
    assert len(clip.frames) == 5
    assert clip.metadata["seed"] == 7


def test_only_a_finished_video_is_downloaded(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert idle.http.get(f"/v1/videos/{name}/download").status_code == 409
    assert idle.http.get(f"/v1/videos/{name}/download?format=avi").status_code == 400


def test_another_key_sees_nothing_of_a_video(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    idle.service.owner = lambda authorization: "another"
    for path in ("request", "download", "preview"):
        assert idle.http.get(f"/v1/videos/{name}/{path}").status_code == 404
    assert idle.http.put(f"/v1/favourites/{name}").status_code == 404
    assert idle.http.post("/v1/queue", json={"ids": [name]}).status_code == 404
    assert idle.http.get("/v1/queue").json()["data"] == []
    assert idle.http.get("/v1/favourites").json()["data"] == []
