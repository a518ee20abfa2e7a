"""Files are written whole or not at all, here and at addresses; memory:// is fsspec's storage in this process."""

import os
import pickle
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

from sorajax.files import Address, as_path, remove_folder, whole_file, write_atomically


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """An empty folder at an address."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return as_path(f"memory://{uuid.uuid4()}")


def test_an_address_is_a_path_of_its_own_kind(tmp_path):
    path = as_path("gs://bucket/clips/a.mp4")
    assert str(path) == "gs://bucket/clips/a.mp4"
    assert str(path.with_name("b.mp4")) == str(path.parent / "b.mp4") == "gs://bucket/clips/b.mp4"
    assert (path.name, path.stem, path.suffix) == ("a.mp4", "a", ".mp4")
    assert as_path(Path("gs://bucket/clips/a.mp4")) == path  # pathlib drops a slash
    assert pickle.loads(pickle.dumps(path)) == path
    assert str(pickle.loads(pickle.dumps(path))) == str(path)


@pytest.mark.parametrize("text", ["clips/a.mp4", "/clips/a.mp4", "C:/clips", "a:b.mp4", "OWNER/MODEL"])
def test_what_has_no_scheme_is_a_local_path(text):
    assert as_path(text) == Path(text)
    assert not isinstance(as_path(text), Address)


def test_a_file_scheme_is_a_local_path(tmp_path):
    assert as_path(f"file://{tmp_path}/a.mp4") == tmp_path / "a.mp4"


def test_a_file_appears_whole_or_not_at_all(bucket):
    path = bucket / "a" / "b.txt"

    def fails(temporary):
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fails)
    assert not path.exists()
    with whole_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert path.is_file()
    assert path.parent.is_dir()
    write_atomically(path, lambda temporary: temporary.write_text("again"))
    assert path.read_bytes() == b"again"
    remove_folder(path.parent)
    assert not path.exists()


def test_an_emulator_is_not_asked_by_grpc(bucket, monkeypatch):
    """gcsfs reads the variable where it is imported."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://localhost:9023")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "set, so that it is restored")
    monkeypatch.delenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT")
    assert not bucket.exists()
    assert os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] == "false"


def test_what_cannot_be_reached_is_one_line(bucket):
    with pytest.raises(OSError, match=r"none://bucket/a cannot be reached \(Protocol not known: none\): check"):
        as_path("none://bucket/a").exists()
    if find_spec("gcsfs") is None:
        with pytest.raises(OSError, match=r"gs://bucket/a cannot be reached .*gcsfs for gs://"):
            as_path("gs://bucket/a").exists()
