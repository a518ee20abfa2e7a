"""What launch/offline.sh collects, without a network: pip's answers are given."""

import json
from pathlib import Path

import pytest

from launch import offline

MODULES = {"grain", "array-record", "jax", "numpy", "torch"}
VERSIONS = {"grain": "0.2.18", "array-record": "0.8.6", "jax": "0.11.2", "numpy": "2.5.5", "etils": "1.15.0"}
HAVE = {"jax": "0.11.2", "numpy": None}


@pytest.fixture
def asked(monkeypatch):
    """What pip is asked to resolve, with an index of VERSIONS, and of diffusers with what it requires."""
    asked = []

    def resolve(requirements, pins, target):
        asked.append((list(requirements), dict(pins)))
        diffusers = {"diffusers": "0.42.1", "regex": "2026.1", "numpy": "2.5.5"} if "diffusers" in requirements else {}
        return diffusers if list(requirements) == ["diffusers"] else VERSIONS | diffusers

    monkeypatch.setattr(offline, "resolve", resolve)
    return asked


@pytest.mark.slow
def test_the_imports_of_a_training_are_recorded():
    found = offline.imported(["tests/configs/toy.py", "--loop.preview-every", "1"])
    assert {"grain", "jax", "flax", "tensorboardx", "pillow", "tyro", "cattrs", "orbax-checkpoint"} <= found
    assert not found & {"av", "mediapy", "tensorflow-datasets", "pytest", "sorajax"}


def test_a_failed_training_is_reported():
    with pytest.raises(ValueError, match=r"does not run here: nothing\.py is no experiment file"):
        offline.imported(["nothing.py"])


def test_only_missing_required_imported_wheels_are_collected(asked):
    assert offline.missing(MODULES, HAVE, [], []) == ["array-record==0.8.6", "grain==0.2.18"]
    ((requirements, pins),) = asked
    assert {offline.name_of(line) for line in requirements} == MODULES - {"torch"}
    assert pins == {"jax": "0.11.2"}


def test_added_packages_bring_compatible_requirements(asked):
    found = offline.missing(MODULES, HAVE, ["diffusers"], [])
    assert found == ["array-record==0.8.6", "grain==0.2.18", "diffusers==0.42.1", "regex==2026.1"]
    assert asked[1][1]["numpy"] == VERSIONS["numpy"]


def test_jax_for_cuda_is_added_where_the_machine_has_none():
    assert offline.wanted(["av"], 13, {"jax"}) == ["av>=17.1", "jax[cuda13]"]
    assert offline.wanted([], 13, {"jax", "jax-cuda13-plugin"}) == []
    assert offline.wanted([], None, {}) == []


def test_a_list_of_installed_distributions_is_read():
    text = """# a comment
jax==0.11.2
Typing_Extensions==4.16.0
torch==2.11.0+cu130
optax==0.3.0.dev20260901
flax @ file:///opt/flax
-e git+https://example.org/einops#egg=einops
"""
    assert offline.installed(text) == {
        "jax": "0.11.2",
        "typing-extensions": "4.16.0",
        "torch": "2.11.0",
        "optax": None,
        "flax": None,
    }
    with pytest.raises(ValueError, match="'three words here' is no line of `pip freeze`"):
        offline.installed("three words here")


@pytest.fixture
def index(monkeypatch):
    """An index whose wheels have a mebibyte each."""

    def pip(verb, *arguments):
        folder, wheel = Path(arguments[arguments.index("--dest") + 1]), arguments[-1]
        (folder / f"{wheel.replace('==', '-')}-py3-none-any.whl").write_bytes(bytes(offline.MIB))

    monkeypatch.setattr(offline, "pip", pip)


def test_wheels_are_collected(index, tmp_path):
    assert offline.collect(["grain==1", "tyro==2"], tmp_path / "wheels", 2, []) == 2 * offline.MIB
    assert {path.name for path in (tmp_path / "wheels").iterdir()} == {
        "grain-1-py3-none-any.whl",
        "tyro-2-py3-none-any.whl",
    }


def test_wheels_beyond_the_size_limit_are_refused(index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(offline, "imported", lambda training: MODULES)
    monkeypatch.setattr(offline, "resolve", lambda *_: VERSIONS)
    assert offline.main(["--python", "3.12", "--out", str(tmp_path / "wheels"), "--limit-mib", "1.5"]) == 1
    assert capsys.readouterr().err == (
        "offline: 2 of 4 wheels take 2.0 MiB and the limit is 1.5: "
        "name what the machine has with --have, or raise --limit-mib\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_has_wheels_is_refused(tmp_path, capsys):
    (tmp_path / "old.whl").touch()
    assert offline.main(["--python", "3.12", "--out", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_pip_gets_the_target_machines_tags(monkeypatch):
    said = []

    def pip(*arguments):
        said.extend(arguments)
        Path(arguments[arguments.index("--report") + 1]).write_text(
            json.dumps({"install": [{"metadata": {"name": "Array_Record", "version": "0.8.6"}}]})
        )

    monkeypatch.setattr(offline, "pip", pip)
    found = offline.resolve(["array_record>=0.6"], {"jax": "0.11.2"}, offline.pip_target("3.12", "aarch64"))
    assert found == {"array-record": "0.8.6"}
    assert {"--python-version", "3.12", "manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= {*said}
    assert said[-1] == "array_record>=0.6"
