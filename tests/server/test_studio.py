"""The operations that the studio's page uses, and its files."""

import json
import re

import pytest

from sorajax.commands.serve import parse
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.server.database import VIDEOS
from sorajax.server.jobs import Jobs
from sorajax.server.options import ServeOptions
from sorajax.server.studio.cost import Cost, measured
from sorajax.server.studio.page import FOLDER
from sorajax.server.studio.previews import Previews
from sorajax.tasks.table import TASKS
from tests.cases import slow_after
from tests.server.conftest import PROMPT, running
from tests.server.toy import job

MOST_BYTES = 300_000
SCRIPTS = sorted(FOLDER.rglob("*.js"))


def test_the_page_is_served_with_a_strict_policy(server):
    answer = server.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )
    assert "unsafe" not in policy
    assert server.http.head("/").status_code == 200
    names = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    assert names
    for name in names:
        assert server.http.get(f"/{name}").status_code == 200


def test_files_are_asked_for_again_and_not_sent_again(server):
    first = server.http.get("/studio/app.js")
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    assert server.http.get("/studio/app.js", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert server.http.get("/studio/../page.py").status_code == 404
    assert server.http.get("/studio/%2e%2e/page.py").status_code == 404


def test_a_link_of_another_page_opens_the_studio_and_nothing_else(server):
    crossing = {"sec-fetch-site": "cross-site"}
    assert server.http.get("/", headers=crossing).status_code == 200
    for method, path in (("POST", "/"), ("GET", "/v1/studio"), ("GET", "/studio/app.js")):
        assert server.http.request(method, path, headers=crossing).status_code == 403


def test_an_allowed_origin_frames_the_studio_and_reaches_the_api(tmp_path):
    with running(ServeOptions(data=tmp_path, allow_origin=("https://notebook.example.org",))) as one:
        policy = one.http.get("/").headers["content-security-policy"]
        assert policy.endswith("frame-ancestors https://notebook.example.org")
        for origin, status in (("https://notebook.example.org", 200), ("https://other.example.org", 403)):
            assert one.http.get("/v1/videos", headers={"origin": origin}).status_code == status
        assert "frame-ancestors 'none'" in one.http.get("/v1/videos").headers["content-security-policy"]


def test_an_origin_that_is_none_is_refused():
    for origin in ("notebook.example.org", "https://a.example.org/path", "https://a.example.org; script-src *"):
        with pytest.raises(BadRequest, match="allow-origin"):
            parse(["--allow-origin", origin])


def test_the_page_is_light_and_asks_no_other_host():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in files:
        found = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path


def test_no_script_reads_text_as_markup():
    for path in SCRIPTS:
        words = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )
        assert not words, path


def test_every_text_is_in_the_file_of_texts_and_used():
    texts = set(re.findall(r'^  "?([\w.]+)"?:', (FOLDER / "texts" / "en.js").read_text(), re.MULTILINE))
    source = "\n".join(path.read_text() for path in SCRIPTS if path.parent.name != "texts")
    named = set(re.findall(r'\b(?:t|maybe)\("([\w.]+)"', source))
    assert named - texts == set()
    templates = [
        re.sub(r"\$\{.*?\}", ".+", name.replace(".", r"\.")) for name in re.findall(r"`([\w.$ {}|\"]+)`", source)
    ]
    for name in texts:
        assert f'"{name}"' in source or any(re.fullmatch(one, name) for one in templates), f"{name} is not used"
    for task in TASKS:
        assert f"task.{task}" in texts


def test_the_description_has_the_tasks_and_the_model(server):
    about = server.http.get("/v1/studio").json()
    assert [task["name"] for task in about["tasks"]] == list(TASKS)
    assert about["tasks"][2]["options"] == {"direction": "forward"}
    assert about["model"]["sizes"] == ["16x16", "24x16"]
    assert about["limits"]["jobs"] == server.options.max_jobs


def test_the_cost_is_the_median_of_what_videos_took(server):
    for seconds in (1.0, 1.0):
        server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "seconds": seconds}))
    config = server.service.served().config
    cost = measured(server.service.database, server.service.served().name, config.steps, config.fps)
    row = {"task": "text", "spec": {"request": {}}, "seconds": 1.0, "size": "16x16"}
    assert cost.seconds(row) > 0
    assert cost.seconds({**row, "spec": {"request": {"steps": 4}}}) == pytest.approx(2 * cost.seconds(row))
    assert cost.seconds({**row, "task": "a new one"}) == pytest.approx(cost.prices[""] * 2 * 16 * 16 * config.fps)
    assert Cost({}, 2, 8.0).seconds(row) is None


def test_the_queue_is_in_the_order_of_sampling_and_is_sorted(idle):
    names = [idle.http.post("/v1/videos", json={"prompt": f"{PROMPT} {n}"}).json()["id"] for n in range(3)]
    entries = idle.http.get("/v1/queue").json()["data"]
    assert [entry["id"] for entry in entries] == names
    assert [entry["seconds_left"] for entry in entries] == [None] * 3
    wanted = [names[2], names[0], names[1]]
    assert [entry["id"] for entry in idle.http.post("/v1/queue", json={"ids": wanted}).json()["data"]] == wanted
    last = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert [entry["id"] for entry in idle.http.get("/v1/queue").json()["data"]] == [*wanted, last]
    assert Jobs(idle.service.database).claim("a worker")[0].id == names[2]
    answer = idle.http.post("/v1/queue", json={"ids": [names[0], "video_none"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "ids")
    assert idle.http.post("/v1/queue", json={"ids": []}).status_code == 400


def test_a_long_queue_is_sorted_whole(idle):
    names = [idle.service.jobs.add(job(str(number)))["id"] for number in range(120)]
    entries = idle.http.post("/v1/queue", json={"ids": names[::-1]}).json()["data"]
    assert [entry["id"] for entry in entries] == names[::-1]


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


def test_favourites_are_kept_until_they_are_taken_back(idle):
    names = [idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"] for _ in range(2)]
    for _ in range(2):
        assert idle.http.put(f"/v1/favourites/{names[0]}").status_code == 200
    idle.http.put(f"/v1/favourites/{names[1]}")
    assert idle.http.get("/v1/favourites").json()["data"] == names
    idle.http.delete(f"/v1/favourites/{names[0]}")
    idle.http.delete(f"/v1/videos/{names[1]}")
    assert idle.http.get("/v1/favourites").json()["data"] == []
    assert idle.http.put("/v1/favourites/video_none").status_code == 404


def test_a_preview_is_shown_while_its_video_is_sampled(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert idle.http.get(f"/v1/videos/{name}/preview").status_code == 404
    previews = Previews(idle.service.database)
    assert previews.due
    with previews.during([name]):
        previews.put([name], [b"one"])
        assert not previews.due
        previews.put([name], [b"two"])
        answer = idle.http.get(f"/v1/videos/{name}/preview")
        assert (answer.content, answer.headers["content-type"]) == (b"two", "image/webp")
    assert idle.http.get(f"/v1/videos/{name}/preview").status_code == 404


def test_another_key_sees_nothing_of_a_video(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    idle.service.owner = lambda authorization: "another"
    for path in ("request", "download", "preview"):
        assert idle.http.get(f"/v1/videos/{name}/{path}").status_code == 404
    assert idle.http.put(f"/v1/favourites/{name}").status_code == 404
    assert idle.http.post("/v1/queue", json={"ids": [name]}).status_code == 404
    assert idle.http.get("/v1/queue").json()["data"] == []
    assert idle.http.get("/v1/favourites").json()["data"] == []
