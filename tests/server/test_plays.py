"""Playing over the server's WebSocket, in worlds of this process."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from sorajax.commands.serve import parse
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.safety.provenance import available, read_manifest
from sorajax.server import logs, plays
from sorajax.server.api import application
from sorajax.server.options import ServeOptions
from sorajax.server.players import prepare
from sorajax.server.processes import content_of, open_database
from sorajax.server.service import Service
from sorajax.world.actions import ACTIONS
from tests.interactive.worlds import play_model

PROMPT = "a red ball on a grey floor"


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return play_model(tmp_path_factory.mktemp("play"), tiny_model)


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    """A client of a server with a tiny world, where a thread plays in place of a process."""
    logs.SETTINGS["quiet"] = True
    tmp_path = tmp_path_factory.mktemp("serve")
    options = ServeOptions(data=tmp_path, play=str(folder), max_plays=1, allow_host=("testserver",))
    app = application(Service(options, open_database(tmp_path, None), content_of(options)))
    own = app.app.state.plays
    own.open_pool = lambda: ThreadPoolExecutor(1, initializer=prepare, initargs=(own.setting(),))
    yield TestClient(app)
    own.close()


def picture(socket):
    return Image.open(io.BytesIO(socket.receive_bytes()))


def wrong(socket):
    return socket.receive_json()["error"]["message"]


def test_a_play_is_steered_and_kept_as_a_clip(client, tmp_path, monkeypatch):
    monkeypatch.setattr(plays, "LONGEST", 1.0)
    with client.websocket_connect("/v1/play") as socket:
        socket.send_json({"prompt": PROMPT, "seed": 3})
        begun = socket.receive_json()
        assert begun == {"type": "begun", "fps": 8.0, "size": "16x16", "seed": 3, "seconds": 1.0}
        seen = [picture(socket)]
        for message, line in (
            ({"action": "up"}, "action: input should be 'nothing', 'left', 'right' or 'jump', not 'up'"),
            ({}, "action is missing: give it, or keep"),
            ([], "the body is not a JSON object"),
        ):
            socket.send_json(message)
            assert line in wrong(socket)
        for action in ("right", "right", "jump", "nothing", "left", "left", "nothing"):
            socket.send_json({"action": action})
            seen.append(picture(socket))
        assert len({image.tobytes() for image in seen}) > 1
        socket.send_json({"action": "left"})
        assert wrong(socket) == "a play lasts 1 seconds: keep it, or begin another"
        with client.websocket_connect("/v1/play") as other:
            other.send_json({"prompt": PROMPT})
            assert "1 plays are going on, of 1 that are allowed" in wrong(other)
        socket.send_json({"keep": True})
        kept = socket.receive_json()["video"]
    assert (kept["status"], kept["task"], kept["seconds"], kept["size"]) == ("completed", "play", "1", "16x16")
    assert [video["id"] for video in client.get("/v1/videos").json()["data"]] == [kept["id"]]
    path = tmp_path / "clip.mp4"
    path.write_bytes(client.get(f"/v1/videos/{kept['id']}/content").content)
    clip = Video.load(path)
    assert clip.frames.shape == (8, 16, 16, 3)
    assert clip.metadata["actions"] == [0, 2, 2, 3, 0, 1, 1, 0]
    assert not available() or read_manifest(path)
    asked = client.get(f"/v1/videos/{kept['id']}/request").json()["fields"]
    assert asked == {"prompt": PROMPT, "seed": 3, "play": True, "world": "play", "keys": "rrj.ll."}


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ({"prompt": "a red cat", "world": "true"}, "names no object"),
        ({"prompt": ""}, "prompt: string should have at least 1 character"),
        ({"prompt": PROMPT, "world": "other"}, "world: input should be 'play' or 'true'"),
        ({"prompt": PROMPT, "seed": -1}, "seed: input should be greater than or equal to 0"),
        ({"prompt": PROMPT, "speed": 2}, "'speed' is not a field of this request"),
    ],
)
def test_a_wrong_beginning_is_one_line(client, first, line):
    with client.websocket_connect("/v1/play") as socket:
        socket.send_json(first)
        message = wrong(socket)
        assert line in message
        assert "\n" not in message
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_who_may_not_play_is_refused(client, monkeypatch):
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect("/v1/play", headers={"origin": "https://other.example.org"}),
    ):
        pass
    assert denied.value.status_code == 403
    monkeypatch.setattr(plays, "IDLE", 0.05)
    with client.websocket_connect("/v1/play") as socket:
        assert wrong(socket) == "no key was pressed for 0.05 seconds: the play has ended"
    monkeypatch.setattr(type(client.app.app.state.service), "needs_keys", property(lambda self: True))
    monkeypatch.setattr(plays, "IDLE", 5.0)
    with client.websocket_connect("/v1/play") as socket:
        socket.send_json({"prompt": PROMPT, "key": "sk-none"})
        assert wrong(socket) == "the API key is missing or wrong: send Authorization: Bearer KEY"


@pytest.mark.parametrize(
    ("option", "line"), [(["--play", "nowhere"], "--play nowhere does not exist"), (["--max-plays", "-1"], "0 or more")]
)
def test_wrong_options_are_refused(option, line):
    with pytest.raises(BadRequest, match=line):
        parse(option)


def test_actions_are_those_of_the_world():
    assert tuple(ACTIONS) == plays.ACTIONS
    assert get_args(get_args(plays.Move.model_fields["action"].annotation)[0]) == plays.ACTIONS
