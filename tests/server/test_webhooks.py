"""Events are sent until they are accepted, later each time, and are given up in the end."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import openai
import pytest
from sqlalchemy import insert, select
from standardwebhooks import Webhook

from sorajax.server import logs
from sorajax.server.database import EVENTS, connect
from sorajax.server.jobs import Jobs, Result
from sorajax.server.migrations import prepare
from sorajax.server.options import ServeOptions
from sorajax.server.processes import open_database
from sorajax.server.webhooks import WAITS, Webhooks
from tests.server.conftest import PROMPT, running
from tests.server.toy import job

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
OTHER = "whsec_" + base64.b64encode(b"a" * 32).decode()
SECRET = "whsec_" + base64.b64encode(b"secret of the receiver").decode()


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    """Webhooks with one event, whose time stands still."""
    monkeypatch.setattr("sorajax.server.webhooks.now", lambda: 1000.0)
    engine = connect(tmp_path / "jobs.sqlite")
    prepare(engine)
    with engine.begin() as connection:
        row = {"id": "evt_1", "type": "video.completed", "video": "video_1", "created_at": 7.0, "next_attempt": 1000.0}
        connection.execute(insert(EVENTS).values(row))
    return Webhooks(engine, "http://receiver/hook", SECRET)


def sent(hooks, answer):
    """The requests of one look for events that are due, all answered alike."""
    requests = []

    def receive(request):
        requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    with httpx.Client(transport=httpx.MockTransport(receive)) as client:
        hooks.send_due(client)
    return requests


def waiting(hooks):
    with hooks.engine.connect() as connection:
        return connection.execute(select(EVENTS)).all()


def test_an_accepted_event_is_signed_and_sent_once(hooks):
    (request,) = sent(hooks, 204)
    Webhook(SECRET).verify(request.content, dict(request.headers))
    assert json.loads(request.content) == {
        "id": "evt_1",
        "object": "event",
        "created_at": 7,
        "type": "video.completed",
        "data": {"id": "video_1"},
    }
    assert not waiting(hooks)


@pytest.mark.parametrize("answer", [500, 302, httpx.ConnectError("nobody there")], ids=str)
def test_an_event_that_is_not_accepted_is_due_later(hooks, answer):
    assert len(sent(hooks, answer)) == 1
    (event,) = waiting(hooks)
    assert (event.attempts, event.next_attempt) == (1, 1000.0 + WAITS[0])
    assert not sent(hooks, 204), "it is not due yet"


def test_an_event_is_given_up_in_the_end(hooks, monkeypatch):
    monkeypatch.setattr("sorajax.server.webhooks.WAITS", (0, 0))
    for left in (1, 1, 0):
        assert len(sent(hooks, 500)) == 1
        assert len(waiting(hooks)) == left


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
    monkeypatch.setenv("SORAJAX_WEBHOOK_SECRET", OTHER)
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
        openai.OpenAI(api_key="x").webhooks.verify_signature(body, headers, secret=OTHER)


def test_webhooks_are_signed_as_the_client_verifies_them(tmp_path, monkeypatch):
    logs.SETTINGS["quiet"] = True
    monkeypatch.setattr("sorajax.server.webhooks.WAITS", (0, 0))
    http, receiver = receiving()
    jobs = Jobs(open_database(tmp_path, None), webhooks=True)
    webhooks = Webhooks(jobs.engine, f"http://127.0.0.1:{http.server_port}/hook", OTHER)
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
    event.verify_signature(body, headers, secret=OTHER)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        event.verify_signature(body.replace("completed", "failed"), headers, secret=OTHER)
    assert f'"type": "video.completed", "data": {{"id": "{name}"}}' in body
