"""Who may use a server, and what a request may not do."""

from dataclasses import replace

import openai
import pytest

from sorajax.server import keys
from sorajax.server.database import KEYS
from sorajax.server.options import ServeOptions
from tests.server.conftest import PROMPT, running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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
