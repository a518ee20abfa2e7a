"""Models and adapters by path or by name on the hub."""

from pathlib import Path

import pytest

from sorajax.pretrained import hub
from sorajax.pretrained.hub import adapter_file, is_path, resolve_model


def test_an_adapter_on_the_hub_is_downloaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *names: asked.append(names) or tmp_path / "a")
    assert adapter_file(Path("someone/loras/wan/style.safetensors")) == tmp_path / "a"
    assert asked == [("someone/loras", "wan/style.safetensors")]
    adapter_file(Path("someone/style/adapter_model.safetensors"))
    assert asked[1:] == [("someone/style", "adapter_model.safetensors"), ("someone/style", "adapter_config.json")]
    assert adapter_file(Path("runs/missing.safetensors")) == Path("runs/missing.safetensors")
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"nor could a.safetensors of no/body be downloaded from the hub"):
        adapter_file(Path("no/body/a.safetensors"))


def test_a_name_on_the_hub_is_one_where_no_such_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_path("Wan-AI/Wan2.1-T2V-1.3B")
    assert [is_path(name) for name in ("model", "./runs/a", "/a/b", "a/b/c", "~/model")] == [True] * 5
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert is_path("runs/a")
    assert resolve_model("runs/a") == Path("runs/a")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("Wan2.1-T2V-1.3B", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        ("Wan2.2-I2V-A14B-Diffusers", "Wan-AI/Wan2.2-I2V-A14B-Diffusers"),
        ("Wan2.1-I2V-14B-720P", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"),
        ("AnyFlow-Wan2.1-T2V-1.3B", "nvidia/AnyFlow-Wan2.1-T2V-1.3B-Diffusers"),
        ("someone/theirs", "someone/theirs"),
    ],
)
def test_an_open_model_is_downloaded_by_its_short_name(tmp_path, monkeypatch, name, asked):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", Path)
    assert resolve_model(name) == Path(asked)
    (tmp_path / name).mkdir(parents=True)
    assert resolve_model(name) == Path(name)


def test_a_short_name_of_two_models_is_refused():
    with pytest.raises(ValueError, match=r"^Wan2.1-I2V-14B is there for two sizes: use Wan2.1-I2V-14B-480P or "):
        resolve_model("Wan2.1-I2V-14B")


def test_a_model_that_cannot_be_downloaded_is_one_line(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(OSError, match=r"the disk is full, no/body is incomplete: free space, or set HF_HOME"):
        resolve_model("no/body")
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"no/body is neither a folder nor could it be downloaded") as error:
        resolve_model("no/body")
    assert "\n" not in str(error.value)
