"""Image-to-video models and pairs of experts are trained on a folder of videos through the one command."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sorajax
from sorajax.commands.convert import main as convert
from sorajax.commands.train import main
from sorajax.data.videos import preparation
from sorajax.devices.sharding import make_mesh
from sorajax.diffusion.flow import logit_normal
from sorajax.models.conditioning import ConditioningFrames, MaskChannels
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.models.vision import preprocess as prepared_by_pillow
from sorajax.pretrained.lora import EXPERTS, parse_lora, trained_expert
from sorajax.pretrained.open import EXTERNAL_PARTS
from sorajax.sampling.request import Request
from sorajax.training import loop
from sorajax.training.experiments import load_experiment
from sorajax.training.picture import open_encoder, preprocess
from tests.data.videos.films import film, moving
from tests.data.videos.test_preparation import in_turn

pytest.importorskip("torch", reason="the parity extra is not installed")
pytest.importorskip("diffusers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from tests.pretrained import reference  # noqa: E402
from tests.training.experiments.test_tune import EXPERIMENT  # noqa: E402
from tests.training.toy import on_devices  # noqa: E402

QUIET = ("--loop.preview-every", "0")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with two image-to-video models: one that reads tokens of the picture, and a pair of experts."""
    home = tmp_path_factory.mktemp("picture")
    reference.image_to_video(80).save_pretrained(home / "I2V")
    reference.image_to_video(None, boundary=0.9).save_pretrained(home / "pair")
    (home / "films").mkdir()
    for seed in range(8):
        film(home / "films" / f"{seed}.mp4", moving(seed, 9, (20, 20)))
        (home / "films" / f"{seed}.txt").write_text(f"a red ball {seed}")
    return home


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """One device, and no workers."""
    on_devices(monkeypatch, 1)
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    monkeypatch.setattr("sorajax.devices.sharding.make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))


def experiment(home, model, module, kind, settings):
    path = home / f"{model}_{module}.py"
    path.write_text(
        EXPERIMENT.format(
            module=module,
            kind=kind,
            settings=settings,
            base=str(home / model),
            videos=str(home / "films"),
            latents=str(home / "latents"),
        )
    )
    return [str(path), *QUIET]


def same(ours, theirs):
    """Whether all parameters are equal."""
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours, theirs))


def test_training_and_sampling_read_the_same_image_inputs(home):
    pipeline = sorajax.load(home / "I2V")
    clip = np.stack([reference.picture(16, 32)] * 5)
    clip[1:] //= 2
    known, beside = pipeline.denoiser.inputs(ConditioningFrames(head=clip[:1], exact=False), (1, 2, 2, 4, 16))
    assert not known.mask.any()
    opened, made_by = open_encoder(home / "I2V")
    made = opened()(jnp.asarray(clip[None].astype(np.float32) / 127.5 - 1))
    assert "picture" in made_by
    np.testing.assert_allclose(made["channels"], beside.channels, atol=1e-3)
    scale = float(np.abs(beside.image).max())
    np.testing.assert_allclose(made["image"], beside.image, atol=0.02 * scale)
    np.testing.assert_allclose(made["latent"], pipeline.codec.encode(clip)[None], atol=1e-3)
    for height, width in ((40, 64), (64, 40), (20, 20)):
        picture = reference.picture(height, width)
        ours = preprocess(jnp.asarray(picture[None].astype(np.float32) / 127.5 - 1), 28)[0]
        np.testing.assert_allclose(ours, prepared_by_pillow(picture, 28), atol=0.03)


def test_an_expert_is_trained_on_its_times_and_saved_with_the_other(home, capsys):
    said = experiment(home, "pair", "tune", "TuneTraining", "dtype='float32', storage='float32',")
    low = home / "run_low"
    assert main([*said, "--expert", "low", "--directory", str(low)]) == 0, capsys.readouterr().err
    config, params, _ = load_model(low, SoraConfig)
    assert set(params) == {"dit_low", "vae"}
    assert (config.conditioning, config.boundary) == (MaskChannels(), 0.9)
    base, tuned = sorajax.load(home / "pair"), sorajax.load(low)
    kept = {name: same(base.params[name], tuned.params[name]) for name in ("dit", "dit_low", "text")}
    assert kept == {"dit": True, "dit_low": False, "text": True}
    still = ConditioningFrames(head=reference.picture(16, 16)[None], exact=False)
    request = Request(("a red ball",), frames=5, width=16, height=16, steps=2)
    (video,) = tuned.stream(request, tuned.plan(request), conditioning=still)
    assert video.frames.shape == (5, 16, 16, 3)
    assert convert([str(low), "--to", "diffusers", "--out", str(home / "whole"), "--dtype", "float32"]) == 0
    whole = sorajax.load(home / "whole")
    assert all(same(whole.params[name], tuned.params[name]) for name in ("dit", "dit_low", "text", "vae"))

    other = home / "run_high"
    quiet = loop.LoopConfig(steps=1, preview_every=0)
    high = replace(load_experiment(said[0]), expert="high", partner=low, loop=quiet)
    stage, _ = high.build(other)
    assert stage.within == (0.9, 1.0)
    stage.export(other / "model", stage.load(home / "pair"))
    assert json.loads((other / "model" / EXTERNAL_PARTS).read_text())["dit_low"] == str(low)
    both = sorajax.load(other).params
    for name, owner in (("dit", base), ("dit_low", tuned)):
        jax.tree.map(np.testing.assert_array_equal, both[name], owner.params[name])
    with pytest.raises(ValueError, match="has no trained dit: begin from a run of the same --expert"):
        stage.load(low)


def test_times_stay_in_an_interval_and_keep_their_shape():
    every = np.asarray(logit_normal(jax.random.key(0), (200_000,), 0.4, 1.2, 3.0))
    some = np.asarray(logit_normal(jax.random.key(1), (100_000,), 0.4, 1.2, 3.0, within=(0.6, 0.9)))
    assert some.min() >= 0.6 - 1e-6
    assert some.max() <= 0.9 + 1e-6
    within = every[(every > 0.6) & (every < 0.9)]
    np.testing.assert_allclose(np.quantile(some, [0.1, 0.5, 0.9]), np.quantile(within, [0.1, 0.5, 0.9]), atol=3e-3)


def test_an_adapter_of_an_image_model_states_its_expert(home, tmp_path, capsys):
    said = experiment(home, "I2V", "lora", "LoRATraining", "rank=2,")
    assert main([*said, "--directory", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    file = tmp_path / "run" / "model" / "lora.safetensors"
    assert trained_expert(file) is None
    pipeline = sorajax.load(home / "I2V", loras=[file.as_posix()])
    assert not same(pipeline.params["dit"], sorajax.load(home / "I2V").params["dit"])

    said = experiment(home, "pair", "lora", "LoRATraining", "rank=2, expert='low',")
    assert main([*said, "--directory", str(tmp_path / "low"), "--loop.steps", "1"]) == 0, capsys.readouterr().err
    file = tmp_path / "low" / "model" / "lora.safetensors"
    assert trained_expert(file) == "low"
    base = sorajax.load(home / "pair").params
    for lora, changed in ((str(file), {"dit_low"}), (f"high={file}:0.5", {"dit"}), (f"low={file}", {"dit_low"})):
        found = sorajax.load(home / "pair", loras=[lora]).params
        assert {name for name in EXPERTS.values() if not same(base[name], found[name])} == changed, lora
    other = tmp_path / "style_HighNoise.safetensors"
    save_file(load_file(file), other)  # as others write them: nothing says the expert but the name
    found = sorajax.load(home / "pair", loras=[str(other)]).params
    assert {name for name in EXPERTS.values() if not same(base[name], found[name])} == {"dit"}
    assert "style_HighNoise.safetensors is used for the high expert, by its name" in capsys.readouterr().err
    assert parse_lora("low=a/b.safetensors:0.5") == (Path("a/b.safetensors"), 0.5, "low")
    with pytest.raises(ValueError, match="the model has one transformer, leave out high="):
        sorajax.load(home / "I2V", loras=["high=a.safetensors"])


def test_an_impossible_training_is_one_line(home, tmp_path, capsys):
    directory = ("--directory", str(tmp_path / "run"))
    pair = experiment(home, "pair", "tune", "TuneTraining", "")
    single = experiment(home, "I2V", "tune", "TuneTraining", "")
    for said, message in (
        (pair, "has two experts, and one is trained at a time: say --expert high, or low"),
        ([*single, "--expert", "low"], "has one transformer: leave out --expert"),
        ([single[0], "--loop.preview-every", "5"], "say --loop.preview-every 0"),
        ([*single, "--data.buckets.0.frames", "1"], "is a picture, which the model is given"),
    ):
        assert main([*said, *directory]) == 1
        assert message in capsys.readouterr().err
