"""An autoencoder and a transformer are trained on a folder of raw videos through the one command."""

import json

import pytest

from sorajax.commands.train import main
from sorajax.data.videos import preparation
from sorajax.data.videos.captioning import caption_clips
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.models.vae import VAEConfig
from sorajax.training.experiments import load_experiment
from tests import CONFIGS
from tests.data.videos.films import film, moving
from tests.data.videos.test_preparation import in_turn
from tests.training.toy import on_devices


@pytest.fixture(scope="module", autouse=True)
def _here():
    """One device, and no workers: sharding and Beam are the business of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        on_devices(patch, 1)
        patch.setattr(preparation, "run_parts", in_turn)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Twelve films, one of them turned off its path by a broken file."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(12):
        film(folder / f"{seed}.mp4", moving(seed, 12, (40, 40)))
        (folder / f"{seed}.txt").write_text(f"a square moves over ground number {seed}")
    (folder / "junk.mp4").write_bytes(b"junk")
    return folder


@pytest.fixture(scope="module")
def vae(videos, tmp_path_factory):
    """A training directory of a tiny autoencoder of these films."""
    directory = tmp_path_factory.mktemp("vae")
    assert main([str(CONFIGS / "tiny_videos_vae.py"), "--directory", str(directory), "--data.folder", str(videos)]) == 0
    return directory


@pytest.mark.slow
def test_an_autoencoder_is_trained_on_raw_videos(vae, capsys):
    config, params, _ = load_model(vae, VAEConfig)
    assert set(params) == {"vae"}
    assert set(params["vae"]) == {"encoder", "decoder"}  # the critic is no part of the model
    assert min(config.std) > 0
    assert (vae / "previews" / "00000002.png").exists()
    assert "junk.mp4" in (vae / "broken.jsonl").read_text()


@pytest.mark.slow
def test_a_transformer_is_trained_on_encoded_videos_and_resumes(vae, videos, tmp_path, capsys):
    said = [str(CONFIGS / "tiny_videos_dit.py"), "--vae", str(vae), "--data.folder", str(videos)]
    said += ["--latents", str(tmp_path / "latents"), "--directory", str(tmp_path / "run")]
    said += ["--objective.guide-known", "--objective.ahead", "1", "--objective.temperature", "0.8"]
    assert main(said) == 0
    out = capsys.readouterr().out
    assert "held out: loss" in out
    config, params, tokenizer = load_model(tmp_path / "run", SoraConfig)
    assert set(params) == {"text", "dit", "vae"}
    assert (config.fps, config.frames, config.sizes) == (8.0, (9, 1), ((32, 32),))
    assert (config.drop_conditioning_in_cfg, config.redo_latents, config.temperature) == (True, 1, 0.8)
    assert "square" in json.loads(tokenizer)["model"]["vocab"] or "Ġsquare" in json.loads(tokenizer)["model"]["vocab"]

    index = next((tmp_path / "latents" / "latents").rglob("*.json"))
    before = index.stat().st_mtime_ns
    assert main([*said, "--resume", "--loop.steps", "5"]) == 0
    assert index.stat().st_mtime_ns == before  # nothing is encoded twice
    assert "at step 4" in capsys.readouterr().out


@pytest.mark.slow
def test_captions_that_a_captioner_wrote_are_trained_on_and_counted(vae, videos, tmp_path, capsys):
    folder = tmp_path / "latents"
    data = load_experiment(CONFIGS / "tiny_videos_dit.py").data
    settings = preparation.Preparation(buckets=data.buckets, most_broken=data.most_broken)
    count = preparation.prepare(videos, folder, settings)["clips"]
    caption_clips(folder, lambda video, seed=0: ("written", "written at length"), "me")
    said = [str(CONFIGS / "tiny_videos_dit.py"), "--vae", str(vae), "--data.folder", str(folder), "--loop.steps", "2"]
    assert main([*said, "--directory", str(tmp_path / "run"), "--data.captioned", "0.9"]) == 0
    kinds = f"{count} original captions, {count} short and {count} detailed ones"
    assert f"{folder}: {kinds}; 90% are drawn from the latter, 50% of these detailed" in capsys.readouterr().out
    _, _, tokenizer = load_model(tmp_path / "run", SoraConfig)
    assert "written" in tokenizer


@pytest.mark.slow
def test_raw_videos_without_a_folder_for_latents_are_one_line(vae, videos, tmp_path, capsys):
    said = [str(CONFIGS / "tiny_videos_dit.py"), "--vae", str(vae), "--data.folder", str(videos)]
    assert main([*said, "--latents", "None", "--directory", str(tmp_path / "run")]) == 1
    assert "add --latents FOLDER" in capsys.readouterr().err
