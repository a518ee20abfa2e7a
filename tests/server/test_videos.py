"""Mistakes are answered in the API's shape and name the field; every task has its fields; a request is queued once."""

import errno
import hashlib
import json
import time

import numpy as np
import pytest
from sqlalchemy import event

from sorajax.media.video import Video
from sorajax.server.options import ServeOptions
from sorajax.tasks.table import TASKS
from tests.server.conftest import PROMPT, running

WRONG = [
    ({}, "prompt"),
    ({"prompt": "  "}, "prompt"),
    ({"prompt": 4}, "prompt"),
    ({"prompt": "a\0b"}, "prompt"),
    ({"prompt": "Cut to:"}, "prompt"),
    ({"prompt": "a", "size": "wide"}, "size"),
    ({"prompt": "a", "size": "17x16"}, "size"),
    ({"prompt": "a", "size": "0x0"}, "size"),
    ({"prompt": "a", "size": "16x0"}, "size"),
    ({"prompt": "a", "width": 0}, "width"),
    ({"prompt": "a", "width": 17}, "width"),
    ({"prompt": "a", "size": "160000x160000"}, "size"),
    ({"prompt": "a", "size": "16x16", "width": 16}, "size"),
    ({"prompt": "a", "seconds": "-4"}, "seconds"),
    ({"prompt": "a", "seconds": "long"}, "seconds"),
    ({"prompt": "a", "seconds": True}, "seconds"),
    ({"prompt": "a", "seconds": 1e9}, "seconds"),
    ({"prompt": "a", "frames": 6}, "frames"),
    ({"prompt": "a", "frames": 5, "seconds": 1}, "frames"),
    ({"prompt": "a", "steps": 0}, "steps"),
    ({"prompt": "a", "num_inference_steps": 5000}, "steps"),
    ({"prompt": "a", "seed": -1}, "seed"),
    ({"prompt": "a", "sampler": "magic"}, "sampler"),
    ({"prompt": "a", "colour": "red"}, "colour"),
    ({"prompt": "a", "lora": "/etc/passwd"}, "lora"),
    ({"prompt": "a", "input_reference": {"path": "/etc/passwd"}}, "input_reference.path"),
    ({"prompt": "a", "input_reference": {"upload": "x"}}, "input_reference.upload"),
    ({"prompt": "a", "input_reference": {}}, "input_reference"),
    ({"prompt": "a", "input_reference": {"image_url": "http://169.254.169.254/"}}, "input_reference"),
    ({"prompt": "a", "input_reference": {"image_url": "https://[x"}}, "input_reference"),
    ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,@@"}}, "input_reference"),
    ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,AAAA"}}, "input_reference"),
    ({"prompt": "a", "loop": True, "edit": "video_1"}, "edit"),
    ({"prompt": "a", "strength": 0.5}, "strength"),
    ({"prompt": "a", "gap": "1:2"}, "gap"),
    ({"prompt": "a", "between": ["file_1"]}, "between"),
    ({"storyboard": []}, "storyboard"),
    ({"storyboard": [{"prompt": "", "seconds": 1}]}, "storyboard.0"),
    ({"prompt": "a", "storyboard": [{"prompt": "b", "seconds": 1}]}, "prompt"),
    ({"prompt": "a", "priority": 1000}, "priority"),
]
UNKNOWN = [
    ("GET", "/v1/videos/video_1", None, "video_id"),
    ("GET", "/v1/videos/video_1/content", None, "video_id"),
    ("DELETE", "/v1/videos/video_1", None, "video_id"),
    ("POST", "/v1/videos/video_1/remix", {"prompt": "a"}, "video_id"),
    ("POST", "/v1/videos/video_1/cancel", None, "video_id"),
    ("POST", "/v1/videos/video_1/retry", None, "video_id"),
    ("PATCH", "/v1/videos/video_1", {"priority": 1}, "video_id"),
    ("POST", "/v1/videos/edits", {"prompt": "a", "video": {"id": "video_1"}}, "video"),
    ("POST", "/v1/videos/extensions", {"prompt": "a", "seconds": "1", "video": {"file_id": "file_1"}}, "video"),
    ("POST", "/v1/videos", {"prompt": "a", "model": "gpt-4"}, "model"),
    ("POST", "/v1/videos", {"prompt": "a", "characters": [{"id": "char_1"}]}, "characters"),
    ("GET", "/v1/videos/characters/char_1", None, "character_id"),
    ("GET", "/v1/videos?after=video_1", None, "video_id"),
    ("GET", "/v1/files/file_1/content", None, "file_id"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=[json.dumps(body)[:60] for body, _ in WRONG])
def test_a_mistake_is_a_400_that_names_the_field(server, body, param):
    answer = server.http.post("/v1/videos", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize(("method", "path", "body", "param"), UNKNOWN)
def test_an_unknown_id_is_a_404(server, method, path, body, param):
    answer = server.http.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, param)


def test_other_mistakes_have_the_same_shape(server):
    for answer, status in (
        (server.http.get("/v1/nothing"), 404),
        (server.http.put("/v1/videos"), 405),
        (server.http.get("/v1/videos?limit=0"), 400),
        (server.http.get("/v1/videos?order=up"), 400),
        (server.http.post("/v1/videos", content="{", headers={"content-type": "application/json"}), 400),
        (server.http.post("/v1/videos", content="[]", headers={"content-type": "application/json"}), 400),
        (server.http.post("/v1/videos", content="a", headers={"content-type": "text/plain"}), 415),
        (server.http.post("/v1/videos", content="a", headers={"content-type": "multipart/form-data"}), 400),
        (server.http.post("/v1/videos/edits", json={"video": "video_1"}), 400),
        (server.http.post("/v1/videos", data={"a[": "1"}), 400),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_field_names_of_other_servers_are_accepted(server):
    body = {"prompt": PROMPT, "num_inference_steps": 1, "guidance_scale": 1, "flow_shift": 2, "negative_prompt": "box"}
    body |= {"width": 24, "height": 16, "num_frames": 1, "fps": 8, "seed": 7, "style": "film"}
    video = server.finished(server.http.post("/v1/videos", json=body))
    assert (video["status"], video["size"], video["seconds"]) == ("completed", "24x16", "0.125")
    spec = server.service.jobs.get(video["id"], None)["spec"]["request"]
    assert spec["prompts"] == [f"{PROMPT}. The style is film."]
    assert {name: spec[name] for name in ("steps", "shift", "seed", "frames")} == {
        "steps": 1,
        "shift": 2,
        "seed": 7,
        "frames": 1,
    }


def test_a_seed_makes_the_same_video_again(server, tmp_path):
    """The files differ in the time and name of their manifests."""
    path, found = tmp_path / "clip.mp4", []
    for seed in (3, 3, 4):
        video = server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "frames": 1, "seed": seed}))
        path.write_bytes(server.http.get(f"/v1/videos/{video['id']}/content").content)
        found.append(Video.load(path).frames)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_refused_prompt_is_answered_in_the_api_s_shape(server):
    for body in (
        {"prompt": "nazi propaganda"},
        {"prompt": "a ball", "negative": "nazi propaganda"},
        {"storyboard": [{"prompt": "a ball", "seconds": 1}, {"prompt": "nazi propaganda", "seconds": 1}]},
    ):
        answer = server.http.post("/v1/videos", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (
            400,
            "invalid_request_error",
            "moderation_blocked",
        )
        assert "hate" in error["message"]
        assert "nazi" not in error["message"]


def requests_of_tasks(clip, picture):
    """A request of each task, which a form sends."""
    file = lambda name: (name, ("clip.mp4", clip.read_bytes()))  # noqa: E731
    prompt = {"prompt": PROMPT}
    return {
        "text": (prompt, []),
        "image": (prompt, [file("image")]),
        "extend": ({**prompt, "seconds": "0.5", "direction": "backward", "trim": "0:1"}, [file("extend")]),
        "between": (prompt, [file("between[]"), file("between[]")]),
        "connect": ({**prompt, "frames": "4"}, [file("connect[]"), file("connect[]")]),
        "fill": ({**prompt, "gap": "0.5:0.75"}, [file("fill")]),
        "loop": ({**prompt, "loop": "true"}, []),
        "edit": ({**prompt, "strength": "0.5"}, [file("edit"), ("mask", ("mask.png", picture))]),
        "blend": (prompt, [file("blend[]"), file("blend[]")]),
        "storyboard": (
            {
                "storyboard[0][prompt]": PROMPT,
                "storyboard[0][seconds]": "1",
                "storyboard[1][prompt]": "a blue box",
                "storyboard[1][seconds]": "0.5",
                "storyboard[1][join]": "cut",
            },
            [],
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_the_table_is_served(server, clip, picture, tmp_path, task):
    requests = requests_of_tasks(clip, picture)
    assert requests.keys() == TASKS.keys()
    fields, files = requests[task]
    video = server.finished(server.http.post("/v1/videos", data=fields, files=files or None))
    assert (video["status"], video["task"]) == ("completed", task), video["error"]
    path = tmp_path / "clip.mp4"
    path.write_bytes(server.http.get(f"/v1/videos/{video['id']}/content").content)
    made = Video.load(path)
    _, height, width, _ = made.frames.shape
    assert video["size"] == f"{width}x{height}"
    assert float(video["seconds"]) == pytest.approx(len(made.frames) / made.fps)


def test_an_idempotency_key_makes_one_job(idle, clip):
    def ask(key, prompt=PROMPT):
        files = {"video": ("clip.mp4", clip.read_bytes())}
        return idle.http.post(
            "/v1/videos/edits", data={"prompt": prompt}, files=files, headers={"Idempotency-Key": key}
        )

    first, again, other = ask("a"), ask("a"), ask("b")
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    changed = ask("a", "a blue ball")
    assert (changed.status_code, changed.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(idle.http.get("/v1/videos").json()["data"]) == 2


def test_a_full_queue_is_a_429(idle):
    answers = [idle.http.post("/v1/videos", json={"prompt": PROMPT}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert answers[0].headers["openai-poll-after-ms"]


def test_a_full_disk_is_a_507_and_loses_nothing(idle, picture, monkeypatch):
    first = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()
    monkeypatch.setattr(idle.service.content, "free_bytes", lambda: 0)
    assert idle.http.post("/v1/videos", json={"prompt": PROMPT}).status_code == 507
    assert idle.http.post("/v1/files", files={"file": ("a.png", picture)}).status_code == 507
    assert [one["id"] for one in idle.http.get("/v1/videos").json()["data"]] == [first["id"]]


def test_a_database_that_cannot_grow_is_a_507_until_it_can(idle):
    first = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()
    large = {"prompt": "a red ball " * 1500}
    pages = []
    event.listen(idle.service.database, "checkout", lambda connection, *_: connection.execute(pages[0]))
    pages[:] = ["PRAGMA max_page_count = 1"]  # SQLite takes the pages that there are
    answer = idle.http.post("/v1/videos", json=large)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    pages[:] = ["PRAGMA max_page_count = 1000000"]
    second = idle.http.post("/v1/videos", json=large)
    assert second.status_code == 200
    assert [one["id"] for one in idle.http.get("/v1/videos").json()["data"]] == [second.json()["id"], first["id"]]


def test_a_disk_that_is_full_within_an_upload_is_a_507(idle, picture, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sorajax.server.content.os.fsync", full)
        answer = idle.http.post("/v1/files", files={"file": ("a.png", picture)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert not [path for path in idle.service.content.folder.rglob("*") if path.is_file()]
    assert idle.http.post("/v1/files", files={"file": ("a.png", picture)}).status_code == 200


def test_an_expired_video_has_no_content_and_its_files_are_deleted(tiny_engine, tmp_path):
    with running(ServeOptions(data=tmp_path, keep_days=1e-6), tiny_engine) as one:
        video = one.finished(one.http.post("/v1/videos", json={"prompt": PROMPT, "frames": 1}))
        assert video["expires_at"] is not None
        time.sleep(0.1)
        assert one.service.jobs.expire() == 1
        answer = one.http.get(f"/v1/videos/{video['id']}/content")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "video_id")
        assert one.service.sweep(older=-10.0) == 3
        assert one.http.get(f"/v1/videos/{video['id']}").json()["status"] == "completed"


def test_a_queued_video_is_moved_cancelled_and_tried_again(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    path = f"/v1/videos/{name}"
    assert idle.http.get(f"{path}/content").status_code == 409
    assert idle.http.post("/v1/videos/edits", json={"prompt": "a", "video": name}).json()["error"]["param"] == "video"
    assert idle.http.patch(path, json={"priority": 5}).json()["priority"] == 5
    assert idle.http.post(f"{path}/retry").status_code == 409
    ended = idle.http.post(f"{path}/cancel").json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    assert idle.http.post(f"{path}/cancel").status_code == 409
    assert idle.http.post(f"{path}/retry").json()["status"] == "queued"


def test_a_damaged_or_foreign_file_is_a_400(server, clip):
    for content in (b"", b"hello", clip.read_bytes()[:400], b"#EXTM3U\n/etc/passwd", b"\x89PNG\r\n\x1a\n" + b"0" * 99):
        answer = server.http.post("/v1/files", files={"file": ("a.mp4", content)})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


def test_content_is_served_whole_and_in_parts(server):
    video = server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "frames": 1}))
    whole = server.http.get(f"/v1/videos/{video['id']}/content")
    digest = hashlib.sha256(whole.content).hexdigest()
    assert whole.headers["etag"] == f'"{digest[:32]}"'
    part = server.http.get(f"/v1/videos/{video['id']}/content", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_the_start_page_and_the_metrics_are_served(server):
    assert "POST /v1/videos" in server.http.get("/docs").text
    text = server.http.get("/metrics").text
    assert 'sorajax_jobs{status="queued"}' in text
    assert "sorajax_workers 1.0" in text
    assert server.http.get("/healthz").json() == {"status": "ok"}
    paths = server.http.get("/openapi.json").json()["paths"]
    assert len([path for path in paths if path.startswith("/v1/videos")]) >= 8
