"""Who may use a server, and what a request may not do."""

import base64
import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from sorajax.commands.serve import main, parse
from sorajax.errors import BadRequest
from sorajax.server import keys, logs
from sorajax.server.database import KEYS
from sorajax.server.decoding import Limits, check_file, read_file
from sorajax.server.jobs import Jobs, Result
from sorajax.server.options import ServeOptions
from sorajax.server.processes import open_database
from sorajax.server.webhooks import Webhooks
from tests.server.conftest import PROMPT, running
from tests.server.toy import job

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SECRET = "whsec_" + base64.b64encode(b"a" * 32).decode()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, tiny_engine):
    """A server that needs keys, has a name, and whose uploads are small; its worker takes no jobs."""

    def still(service):
        service.jobs.claim = lambda *_: []
        service.owner = lambda authorization: "alice"
        return tiny_engine(service)

    options = ServeOptions(data=tmp_path_factory.mktemp("guarded"), require_keys=True, max_upload_mb=1)
    options = replace(options, allow_host=("videos.example.org",), max_seconds_a_day=2.0)
    with running(options, still) as one:
        del one.service.owner
        yield one


@pytest.fixture(scope="module")
def alice(guarded):
    _, key = keys.make_key(guarded.service.database, "alice")
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_needed_and_is_stored_as_a_hash(guarded, alice, tmp_path):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}):
        for method, path in (("GET", "/v1/videos"), ("POST", "/v1/videos"), ("GET", "/metrics"), ("GET", "/v1/models")):
            answer = guarded.http.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert guarded.http.get("/v1/videos", headers=alice).status_code == 200
    assert guarded.http.get("/healthz").status_code == 200
    with guarded.service.database.connect() as connection:
        stored = str(connection.execute(KEYS.select()).all())
    assert alice["Authorization"].split()[1] not in stored


def test_a_revoked_key_is_refused(guarded):
    number, key = keys.make_key(guarded.service.database, "bob")
    client = openai.OpenAI(base_url=f"{guarded.address}/v1", api_key=key, max_retries=0)
    assert client.videos.list().data == []
    assert keys.revoke_key(guarded.service.database, number)
    with pytest.raises(openai.AuthenticationError):
        client.videos.list()


def test_a_key_sees_only_its_own_videos(guarded, alice):
    name = guarded.http.post("/v1/videos", json={"prompt": PROMPT}, headers=alice).json()["id"]
    _, key = keys.make_key(guarded.service.database, "carol")
    other = {"Authorization": f"Bearer {key}"}
    for method, path in (("GET", name), ("DELETE", name), ("GET", f"{name}/content"), ("POST", f"{name}/cancel")):
        assert guarded.http.request(method, f"/v1/videos/{path}", headers=other).status_code == 404
    body = {"prompt": "a", "video": {"id": name}}
    assert guarded.http.post("/v1/videos/edits", json=body, headers=other).status_code == 404
    assert guarded.http.delete(f"/v1/videos/{name}", headers=alice).status_code == 200


def test_seconds_of_video_per_day_are_limited(guarded):
    _, key = keys.make_key(guarded.service.database, "dave")
    headers = {"Authorization": f"Bearer {key}"}
    answers = [guarded.http.post("/v1/videos", json={"prompt": "a", "seconds": 1}, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert (answers[1].json()["error"]["param"], answers[1].headers["retry-after"]) == ("seconds", "3600")


def test_other_origins_and_host_names_are_refused(guarded, alice):
    local = guarded.address.removeprefix("http://")
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Origin": f"http://{local}"}, 200),
        ({"Host": "videos.example.org"}, 200),
    ):
        answer = guarded.http.get("/v1/videos", headers={**alice, **headers})
        assert answer.status_code == status, headers
        assert "access-control-allow-origin" not in answer.headers


def test_a_body_that_is_too_large_is_a_413(guarded, alice):
    large = b"0" * (3 * 2**20 + 1)
    assert guarded.http.post("/v1/files", files={"file": ("a.png", large)}, headers=alice).status_code == 413
    parts = (large[:100_000] for _ in range(40))
    answer = guarded.http.post(
        "/v1/files", content=parts, headers={**alice, "Content-Type": "multipart/form-data; boundary=a"}
    )
    assert answer.status_code in (400, 413)
    answer = guarded.http.post("/v1/videos", content=(b" " * 100_000 for _ in range(40)), headers=alice)
    assert answer.status_code == 413


def test_a_file_beyond_a_limit_is_a_400(guarded, alice):
    content = b"\x89PNG\r\n\x1a\n" + b"0" * (2**20 + 1)
    answer = guarded.http.post("/v1/files", files={"file": ("a.png", content)}, headers=alice)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


def test_files_are_decoded_within_limits(clip, tmp_path):
    found = check_file(clip, Limits())
    assert (found.frames, found.width, found.height, found.seconds) == (9, 24, 16, 9 / 8)
    assert read_file(clip, Limits(), 0.5, 1.0).frames.shape == (4, 16, 24, 3)
    for limits in (Limits(pixels=100), Limits(frames=8), Limits(seconds=1.0)):
        with pytest.raises(BadRequest, match="too"):
            check_file(clip, limits)
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((8000, 8000), np.uint8)).save(large)
    assert large.stat().st_size < 2**20
    with pytest.raises(BadRequest, match=r"memory|pixels"):
        check_file(large, Limits(memory=400 * 2**20))


def test_listening_beyond_localhost_needs_keys(tmp_path, capfd):
    assert main(["--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path)]) == 2
    assert "serve keys add" in capfd.readouterr().err


def test_keys_are_made_listed_and_revoked(tmp_path, capfd):
    data = ["--data", str(tmp_path)]
    assert main(["keys", "add", "alice", *data]) == 0
    number, key, _ = capfd.readouterr().out.splitlines()
    assert keys.owner_of(open_database(tmp_path, None), key) == number
    main(["keys", "list", *data])
    out = capfd.readouterr().out
    assert number in out
    assert key not in out
    assert main(["keys", "revoke", number, *data]) == 0
    assert keys.owner_of(open_database(tmp_path, None), key) is None
    assert main(["keys", "revoke", number, *data]) == 2


@pytest.mark.parametrize(
    "options",
    [["--port", "99999"], ["--batch", "0"], ["--worker"], ["--webhook", "ftp://x"], ["--webhook", "https://x"]],
    ids=" ".join,
)
def test_wrong_options_are_one_line(tmp_path, capfd, options, monkeypatch):
    monkeypatch.delenv("SORAJAX_WEBHOOK_SECRET", raising=False)
    assert main(["--data", str(tmp_path), *options]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_folder_is_served_once(tmp_path, capfd):
    with running(parse(["--data", str(tmp_path)])):
        import fcntl

        with open(tmp_path / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert main(["--data", str(tmp_path), "--port", "0"]) == 2
    assert "another process" in capfd.readouterr().err


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",), ("192.0.2.1",)])
def test_only_a_named_proxy_is_believed(tmp_path, monkeypatch, trusted):
    seen = []
    monkeypatch.setattr("sorajax.server.guard.log", lambda event, **values: seen.append(values["client"]))
    with running(ServeOptions(data=tmp_path, trust_proxy=trusted)) as one:
        one.http.get("/v1/videos", headers={"X-Forwarded-For": "203.0.113.9"})
    assert seen[-1] == ("203.0.113.9" if trusted == ("127.0.0.1",) else "127.0.0.1")


@pytest.mark.parametrize("asked", [False, True])
def test_prompts_are_logged_only_when_the_operator_asks(capfd, monkeypatch, asked):
    monkeypatch.setattr(logs, "SETTINGS", {"prompts": asked, "quiet": False})
    logs.log("job started", job="video_1", prompt=PROMPT)
    line = json.loads(capfd.readouterr().err)
    assert (line["job"], line.get("prompt")) == ("video_1", PROMPT if asked else None)


class Receiver(BaseHTTPRequestHandler):
    """Remembers webhooks; the first is refused."""

    received: tuple = ()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        type(self).received += ((body, dict(self.headers)),)
        self.send_response(500 if len(self.received) == 1 else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def receiving():
    """A server that receives webhooks, and its class."""
    receiver = type("OneReceiver", (Receiver,), {})
    http = HTTPServer(("127.0.0.1", 0), receiver)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return http, receiver


def test_a_server_tells_its_webhook_of_each_ending(tmp_path, tiny_engine, monkeypatch):
    monkeypatch.setenv("SORAJAX_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr("sorajax.server.webhooks.WAITS", (0, 0))
    monkeypatch.setattr("sorajax.server.webhooks.LOOKED", 0.05)
    http, receiver = receiving()
    options = ServeOptions(data=tmp_path, webhook=f"http://127.0.0.1:{http.server_port}/hook")
    with running(options, tiny_engine) as one:
        made = one.finished(one.http.post("/v1/videos", json={"prompt": PROMPT, "frames": 1}))["id"]
        film = one.http.post("/v1/videos", json={"prompt": PROMPT, "seconds": 60}).json()["id"]
        assert one.http.post(f"/v1/videos/{film}/cancel").status_code == 200
        until = time.monotonic() + 10
        while len(receiver.received) < 3:
            assert time.monotonic() < until
            time.sleep(0.02)
    http.shutdown()
    events = [json.loads(body) for body, _ in receiver.received]
    assert {(event["type"], event["data"]["id"]) for event in events} == {
        ("video.completed", made),
        ("video.failed", film),
    }
    for body, headers in receiver.received:
        openai.OpenAI(api_key="x").webhooks.verify_signature(body, headers, secret=SECRET)


def test_webhooks_are_signed_as_the_client_verifies_them(tmp_path, monkeypatch):
    logs.SETTINGS["quiet"] = True
    monkeypatch.setattr("sorajax.server.webhooks.WAITS", (0, 0))
    http, receiver = receiving()
    jobs = Jobs(open_database(tmp_path, None), webhooks=True)
    webhooks = Webhooks(jobs.engine, f"http://127.0.0.1:{http.server_port}/hook", SECRET)
    name = jobs.add(job("a"))["id"]
    jobs.claim("w")
    jobs.complete("w", name, Result("a", "b", "c", 1.0, "16x16"))
    with httpx.Client() as client:
        for _ in range(3):
            webhooks.send_due(client)
    http.shutdown()
    assert len(receiver.received) == 2, "once more after the refusal, and no further time"
    body, headers = receiver.received[1]
    event = openai.OpenAI(api_key="x").webhooks
    event.verify_signature(body, headers, secret=SECRET)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        event.verify_signature(body.replace("completed", "failed"), headers, secret=SECRET)
    assert f'"type": "video.completed", "data": {{"id": "{name}"}}' in body
