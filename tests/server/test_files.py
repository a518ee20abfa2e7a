"""Uploaded files are listed, sent back as they came, and deleted; the browser shows nothing of them."""

import pytest
from starlette.testclient import TestClient

from sorajax.server import logs, uploads
from sorajax.server.api import application
from sorajax.server.decoding import Found
from sorajax.server.options import ServeOptions
from sorajax.server.processes import content_of, open_database
from sorajax.server.service import Service


@pytest.fixture
def client(tmp_path):
    """A client of the API without a server and without a worker."""
    logs.SETTINGS["quiet"] = True
    options = ServeOptions(data=tmp_path, allow_host=("testserver",))
    return TestClient(application(Service(options, open_database(tmp_path, None), content_of(options))))


def test_a_file_goes_round(client, monkeypatch):
    monkeypatch.setattr(uploads, "check_file", lambda path, limits: Found(1, 16, 16, 8.0))
    data = b"\x89PNG\r\n\x1a\n and pixels"
    made = client.post("/v1/files", files={"file": ("a.png", data)}, data={"purpose": "vision"}).json()
    assert (made["object"], made["filename"], made["bytes"], made["status"]) == (
        "file",
        "a.png",
        len(data),
        "processed",
    )
    path = f"/v1/files/{made['id']}"
    assert client.get(path).json() == made
    assert client.get("/v1/files").json()["data"] == [made]
    content = client.get(f"{path}/content")
    assert (content.content, content.headers["content-type"]) == (data, "application/octet-stream")
    assert client.delete(path).json() == {"id": made["id"], "object": "file", "deleted": True}
    assert client.get(f"{path}/content").status_code == 404
    assert client.get("/v1/files").json()["data"] == []
