"""Events are sent until they are accepted, later each time, and are given up in the end."""

import base64
import json

import httpx
import pytest
from sqlalchemy import insert, select
from standardwebhooks import Webhook

from sorajax.server.database import EVENTS, connect
from sorajax.server.migrations import prepare
from sorajax.server.webhooks import WAITS, Webhooks

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
