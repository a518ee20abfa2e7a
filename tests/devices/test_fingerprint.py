"""Fingerprints change with what they stand for, and with nothing else."""

import shutil

import pytest

from sorajax.devices import fingerprint


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "parts" / "a").write_bytes(bytes(range(256)) * 4)
    return folder


def test_a_copy_has_the_same_fingerprint(folder, tmp_path):
    assert fingerprint.files(shutil.copytree(folder, tmp_path / "copy")) == fingerprint.files(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "parts" / "a").write_bytes(bytes(range(256)) * 3 + bytes(256)),
        lambda folder: (folder / "parts" / "a").rename(folder / "parts" / "b"),
        lambda folder: (folder / "parts" / "empty").touch(),
    ],
    ids=["a byte", "a name", "a file"],
)
def test_every_change_of_the_files_is_one_of_the_fingerprint(folder, change):
    before = fingerprint.files(folder)
    change(folder)
    assert fingerprint.files(folder) != before


def test_a_large_file_is_read_in_blocks_from_end_to_end(folder, monkeypatch):
    monkeypatch.setattr(fingerprint, "WHOLE", 100)
    monkeypatch.setattr(fingerprint, "BLOCK", 4)
    monkeypatch.setattr(fingerprint, "BLOCKS", 3)
    path = folder / "parts" / "a"
    before = fingerprint.files(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint.files(path) != before


def test_a_distribution_is_named_with_its_version():
    assert fingerprint.installed("jax").split()[0] == "jax"
    assert fingerprint.installed("no-such-distribution") == "no-such-distribution none"
    assert fingerprint.installed("numpy") in fingerprint.code()
