"""What is at an address is copied once, and what was written to the copy goes back."""

import uuid

import pytest

from sorajax.copies import WorkingCopy, fetched
from sorajax.files import as_path, remove_folder, write_atomically


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return as_path(f"memory://{uuid.uuid4()}")


def test_a_folder_is_copied_once_and_again_where_it_changes(bucket, monkeypatch):
    for name in ("model/config.json", "model/part/weights"):
        write_atomically(bucket / name, lambda path, name=name: path.write_text(name))
    local = fetched(bucket / "model")
    assert local.name == "model"
    assert {path.relative_to(local).as_posix() for path in local.rglob("*")} == {"config.json", "part", "part/weights"}
    assert (local / "part/weights").read_text() == "model/part/weights"
    before = {path: path.stat().st_mtime_ns for path in local.rglob("*") if path.is_file()}
    write_atomically(bucket / "model/config.json", lambda path: path.write_text("new"))
    assert fetched(bucket / "model") == local
    assert (local / "config.json").read_text() == "new"
    assert (local / "part/weights").stat().st_mtime_ns == before[local / "part/weights"]
    assert fetched(bucket / "model/config.json").read_text() == "new"
    assert fetched(local) is local
    with pytest.raises(FileNotFoundError, match="does not exist"):
        fetched(bucket / "nothing")


def test_a_working_copy_is_continued_elsewhere(bucket, monkeypatch, tmp_path):
    copy = WorkingCopy(bucket / "out")
    assert not copy.update()
    (copy.folder / "clips").mkdir(parents=True)
    for name in ("clips/0", "report", ".temporary"):
        (copy.folder / name).write_text(name)
    copy.publish()
    assert (bucket / "out/clips/0").read_text() == "clips/0"
    assert not (bucket / "out/.temporary").exists()
    stored = (bucket / "out/clips/0").read_bytes
    (copy.folder / "report").write_text("longer report")
    write_atomically(bucket / "out/clips/0", lambda path: path.write_text("of another machine"))
    copy.publish()
    assert ((bucket / "out/report").read_text(), stored()) == ("longer report", b"of another machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    other = WorkingCopy(bucket / "out")
    assert other.update()
    assert (other.folder / "report").read_text() == "longer report"
    assert other.folder != copy.folder
    remove_folder(bucket / "out")
    (other.folder / "unpublished").write_text("new")
    assert not other.update()
    assert [path.name for path in other.folder.rglob("*") if path.is_file()] == ["unpublished"]
    local = WorkingCopy(tmp_path / "local")
    assert (local.folder, local.update()) == (tmp_path / "local", False)
    local.publish()
