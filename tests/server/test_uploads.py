"""Users' files are found by a reference, by their owner alone, and fetched only from hosts that are allowed."""

import base64
import io

import pytest
from starlette.datastructures import UploadFile

from sorajax.server import uploads
from sorajax.server.content import Content
from sorajax.server.database import FILES
from sorajax.server.decoding import Found, Limits
from sorajax.server.failures import ApiError
from sorajax.server.fields import Reference
from sorajax.server.jobs import Jobs
from sorajax.server.processes import open_database
from sorajax.server.uploads import Uploads
from tests.server.toy import job

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Uploads of which each is a clip of a second, without a process that decodes it."""
    monkeypatch.setattr(uploads, "check_file", lambda path, limits: Found(8, 16, 16, 8.0))
    database = open_database(tmp_path, None)
    return Uploads(database, Content(tmp_path / "content"), Jobs(database), Limits(), frozenset(("cdn.example.org",)))


def upload(data=PNG, filename="..\\a/b.png"):
    return Reference(upload=UploadFile(io.BytesIO(data), filename=filename))


def code_of(call, *arguments):
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value.code or str(caught.value)


def test_a_file_is_found_by_its_owner_and_deleted_once(store):
    row = store.add_file("alice", upload(), "vision")
    assert (row["filename"], row["bytes"], row["seconds"]) == ("b.png", len(PNG), 1.0)
    source = store.find(Reference(file_id=row["id"]), "alice", "image")
    assert (source.content, source.seconds) == (row["content"], 1.0)
    assert code_of(store.find, Reference(file_id=row["id"]), "bob", "image") == "not_found"
    store.delete_file(row["id"], "alice")
    assert code_of(store.delete_file, row["id"], "alice") == "not_found"


def test_files_come_page_by_page(store):
    names = [store.add_file("alice", upload(PNG + bytes([n])), "vision")["id"] for n in range(3)]
    page, more = store.files("alice", None, 2, newest_first=True)
    assert ([row["id"] for row in page], more) == (names[:0:-1], True)
    page, more = store.files("alice", names[1], 2, newest_first=True)
    assert ([row["id"] for row in page], more) == (names[:1], False)
    assert store.get(FILES, names[0], "alice", "file", "file_id")["purpose"] == "vision"


def test_a_video_is_taken_when_it_is_completed(store):
    name = store.jobs.add(job("a", owner="alice"))["id"]
    assert code_of(store.find, Reference(id=name), "alice", "extend") == "not_completed"
    assert code_of(store.find, Reference(id=name), "bob", "extend") == "not_found"
    assert code_of(store.find, Reference(), "alice", "extend") == "missing_field"
    assert code_of(store.find, Reference(id=name, file_id="file_1"), "alice", "extend") == "missing_field"


def test_only_data_and_allowed_hosts_are_fetched(store):
    address = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert store.fetch(address, "image") == PNG
    assert store.find(Reference(image_url=address), "alice", "image").seconds == 1.0
    for address in (
        "http://cdn.example.org/a.png",
        "https://evil.example.org/a.png",
        "https://[x",
        "file:///etc/passwd",
    ):
        assert code_of(store.fetch, address, "image") == "address_not_allowed"
    assert "is not base64" in code_of(store.fetch, "data:image/png;base64,@@", "image")
    assert code_of(store.find, Reference(image_url="data:x;base64,aGVsbG8="), "alice", "image") == "invalid_file"
