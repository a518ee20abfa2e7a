"""Files by content: in a folder, or at an address of fsspec, they are whole or absent."""

import io
import os
import time

import fsspec
import pytest

from sorajax.server.content import Content
from sorajax.server.jobs import new_id
from sorajax.server.options import ServeOptions
from tests.server.conftest import PROMPT, running


@pytest.fixture(params=["folder", "file", "memory"])
def address(request, tmp_path):
    """Where files are: a folder, or an address that other machines could reach."""
    name = new_id("files")
    return {"folder": str(tmp_path / name), "file": f"file://{tmp_path / name}", "memory": f"memory://{name}"}[
        request.param
    ]


def machine(address, tmp_path, name):
    """The store as a machine sees it."""
    return Content(address, tmp_path / name)


def age(path, seconds=10_000.0):
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_file_that_one_machine_stores_is_read_by_another(address, tmp_path):
    here, there = machine(address, tmp_path, "here"), machine(address, tmp_path, "there")
    name = here.put(io.BytesIO(b"video"), ".mp4")
    assert here.put(io.BytesIO(b"video"), ".mp4") == name
    assert there.path(name).read_bytes() == b"video"
    with pytest.raises(FileNotFoundError):
        there.path("0" * 64 + ".mp4")
    other = here.put(io.BytesIO(b"other"), ".mp4")
    here.delete_others({name}, older=-10.0)
    late = machine(address, tmp_path, "late")
    assert late.path(name).read_bytes() == b"video"
    with pytest.raises(FileNotFoundError):
        late.path(other)


def test_half_a_remote_file_is_never_served(tmp_path):
    here, root = machine("memory://half", tmp_path, "here"), fsspec.filesystem("memory")
    name = here.put(io.BytesIO(b"video"), ".mp4")
    root.pipe_file(f"/half/{name}", b"vid")
    there = machine("memory://half", tmp_path, "there")
    with pytest.raises(FileNotFoundError, match="in part"):
        there.path(name)
    assert not list(there.folder.glob("**/*.mp4"))
    here.put(io.BytesIO(b"video"), ".mp4")
    assert there.path(name).read_bytes() == b"video"


def test_copies_of_remote_files_that_are_not_used_are_deleted(tmp_path):
    content = machine("memory://copies", tmp_path, "here")
    used, unused = (content.put(io.BytesIO(data), ".mp4") for data in (b"used", b"unused"))
    for name in (used, unused):
        age(content.path(name))
    content.path(used)
    content.forget_copies()
    assert [path.name for path in content.folder.glob("*/*")] == [used]
    assert content.path(unused).read_bytes() == b"unused"
    folder = Content(tmp_path / "folder")
    age(folder.path(name := folder.put(io.BytesIO(b"only"), ".mp4")))
    folder.forget_copies()
    assert folder.path(name).read_bytes() == b"only", "a folder has no copies, but the files"


def test_a_server_keeps_its_files_at_an_address(tmp_path, tiny_engine, picture):
    options = ServeOptions(data=tmp_path, files="memory://served")
    with running(options, tiny_engine) as one:
        body = {"prompt": PROMPT, "frames": "1"}
        video = one.finished(one.http.post("/v1/videos", data=body, files={"image": ("a.png", picture)}))
        assert video["status"] == "completed", video["error"]
        for path in one.service.content.folder.glob("*/*"):
            path.unlink()
        assert one.http.get(f"/v1/videos/{video['id']}/content").content[4:8] == b"ftyp"
        assert one.service.sweep(older=-10.0) == 0, "the picture, the video and its previews are used or copies"
        assert one.http.delete(f"/v1/videos/{video['id']}").status_code == 200
        one.service.sweep(older=-10.0)
    assert fsspec.filesystem("memory").ls("/served", detail=False) == []
