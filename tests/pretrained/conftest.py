"""A small text-to-video model in the diffusers layout, written by the reference."""

import shutil

import pytest


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a small text-to-video model in the diffusers layout."""
    from tests.pretrained import reference

    folder = tmp_path_factory.mktemp("models") / "Wan2.1-T2V"
    reference.silent(reference.MODELS["Wan2.1-T2V"]).save_pretrained(folder, max_shard_size="60KB")
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(saved, tmp_path / "copied")
