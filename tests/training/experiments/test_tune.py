"""Open weights are trained on a folder of videos through the one command; the text encoder runs once."""

import json

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands.train import main
from sorajax.data.contexts import TEXT
from sorajax.data.videos import preparation
from sorajax.devices.sharding import make_mesh
from sorajax.models.conditioning import Replacement
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.part import Part
from tests.data.videos.films import film, moving
from tests.data.videos.test_preparation import in_turn

pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from tests.pretrained import reference  # noqa: E402
from tests.training.toy import on_devices  # noqa: E402

LONG = "a square " * 300
EXPERIMENT = """
from pathlib import Path
from sorajax.data.buckets import Bucket
from sorajax.data.videos.clips import VideoData
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.loop import LoopConfig
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.optimizer import OptimizerConfig
from sorajax.training.experiments.tune import TuneTraining

config = {kind}(
    base=Path({base!r}), {settings}
    objective=FlowObjective(known=0.0, prompts=("a square moves",), sample_steps=1),
    data=VideoData(folder=Path({videos!r}), buckets=(Bucket(5, 16, 16, batch_size=2),), held_out=0.3),
    latents=Path({latents!r}), validation=1,
    loop=LoopConfig(steps=2, preview_every=2, validate_every=2,
                    optimizer=OptimizerConfig(learning_rate=1e-2, warmup=1, ema=0.0)),
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with tiny open weights, films with captions (one too long to be read), and no latents yet."""
    home = tmp_path_factory.mktemp("tune")
    diffusers.WanPipeline(
        tokenizer=reference.tokenizer(),
        text_encoder=reference.text_encoder(),
        transformer=reference.transformer(),
        vae=reference.autoencoder(),
        scheduler=reference.scheduler(),
    ).save_pretrained(home / "Wan")
    (home / "films").mkdir()
    for seed in range(8):
        film(home / "films" / f"{seed}.mp4", moving(seed, 9, (20, 20)))
        (home / "films" / f"{seed}.txt").write_text(LONG if seed == 3 else f"a square moves &amp; turns {seed}")
    return home


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """One device, and no workers."""
    on_devices(monkeypatch, 1)
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    monkeypatch.setattr("sorajax.devices.sharding.make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))


@pytest.fixture
def opened(monkeypatch):
    """The kinds of parts whose parameters are read."""
    read = []
    load = Part.load

    def noted(part, *rest):
        read.append(type(part.config).__name__)
        return load(part, *rest)

    monkeypatch.setattr(Part, "load", noted)
    return read


def experiment(home, name, kind, settings, base="Wan"):
    """What trains ``kind`` into run_NAME, as one says it to ``main``."""
    path = home / f"{name}.py"
    path.write_text(
        EXPERIMENT.format(
            kind=kind,
            settings=settings,
            base=str(home / base),
            videos=str(home / "films"),
            latents=str(home / "latents"),
        )
    )
    return [str(path), "--directory", str(home / f"run_{name}")]


def test_a_whole_transformer_is_tuned_resumed_and_sampled(home, opened, capsys):
    said = experiment(home, "tune", "TuneTraining", "dtype='float32', storage='float32',")
    assert main(said) == 0, capsys.readouterr().err
    assert "held out: loss" in capsys.readouterr().out
    assert opened.count("TextConfig") == 1  # for the prompts of previews and all captions together
    captions = json.loads(next((home / "latents" / TEXT).rglob("*.json")).read_text())
    assert captions[0] == ""
    assert LONG.strip() in [caption.strip() for caption in captions]

    config, params, _ = load_model(home / "run_tune", SoraConfig)
    assert set(params) == {"dit", "vae"}  # the text encoder stays where it is
    assert (config.clean_prompts, config.conditioning, config.frames) == (True, Replacement(), (5,))
    pipeline, base = sorajax.load(home / "run_tune"), sorajax.load(home / "Wan")
    jax.tree.map(np.testing.assert_array_equal, pipeline.params["text"], base.params["text"])
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), pipeline.params["dit"], base.params["dit"])
    assert max(jax.tree.leaves(moved)) > 1e-3
    (video,) = pipeline("a square moves", frames=5, width=16, height=16, steps=1)
    assert video.frames.shape == (5, 16, 16, 3)

    opened.clear()
    assert main([*said, "--resume", "--loop.steps", "3"]) == 0
    assert "TextConfig" not in opened  # all is said already


def test_cached_text_embeddings_equal_the_encoders(home):
    """Of an adapter's run on the same latents: the contexts are those that sampling computes."""
    from sorajax.data.contexts import Contexts
    from sorajax.training.frozen import open_text

    said = experiment(home, "lora", "LoRATraining", "rank=2,")
    assert main(said) == 0
    assert (home / "run_lora" / "model" / "lora.safetensors").exists()
    frozen = open_text(home / "Wan")
    contexts = Contexts([home / "latents"], frozen.made_by, frozen.config.tokens)
    pipeline = sorajax.load(home / "Wan")
    prompt = "a square moves &amp; turns 1"
    pipeline.prompts.encode([prompt])
    ours = contexts([prompt, ""])["context"]
    np.testing.assert_allclose(ours[0], pipeline.prompts.contexts[prompt], atol=2e-3)
    assert np.abs(ours[1, 0]).max() > 0  # of the empty prompt the end is read
    assert np.abs(ours[1, 1:]).max() == 0
    with pytest.raises(ValueError, match="'a dog' was not encoded"):
        contexts(["a dog"])


def test_converted_weights_train_as_the_original_ones(home):
    from sorajax.commands.convert import main as convert
    from sorajax.training.frozen import open_text

    assert convert([str(home / "Wan"), "--out", str(home / "fast"), "--dtype", "float32"]) == 0
    encoders = [open_text(home / name).embed() for name in ("Wan", "fast")]
    np.testing.assert_array_equal(*(embed(["a square moves"])[0] for embed in encoders))
    trained = []
    for name in ("Wan", "fast"):
        settings = "dtype='float32', storage='float32',"
        said = experiment(home, f"from_{name}", "TuneTraining", settings, base=name)
        assert main([*said, "--latents", str(home / f"latents_{name}")]) == 0
        trained.append(load_model(home / f"run_from_{name}", SoraConfig)[1])
    jax.tree.map(np.testing.assert_array_equal, *trained)
    pipeline = sorajax.load(home / "run_from_fast")  # borrows the text encoder from there
    assert pipeline("a square moves", frames=5, width=16, height=16, steps=1)[0].frames.shape == (5, 16, 16, 3)
    said = experiment(home, "adapter_fast", "LoRATraining", "rank=2,", base="fast")
    assert main([*said, "--latents", str(home / "latents_fast")]) == 0
    assert (home / "run_adapter_fast" / "model" / "lora.safetensors").exists()


def test_an_impossible_fine_tuning_is_one_line(home, capsys):
    said = experiment(home, "tune", "TuneTraining", "")
    assert main([*said, "--objective.known", "0.5", "--directory", str(home / "other")]) == 1
    assert "say --objective.known 0" in capsys.readouterr().err
    assert main([*said, "--base", str(home / "films"), "--directory", str(home / "other")]) == 1
    assert "is no folder of open weights: name one" in capsys.readouterr().err
    assert not (home / "other").exists()


def test_the_reference_opens_an_exported_fine_tuned_model(home, tmp_path):
    from sorajax.commands.convert import main as convert

    out = tmp_path / "out"
    said = experiment(home, "exported", "TuneTraining", "dtype='float32', storage='float32',")
    assert main(said) == 0
    assert convert([said[-1], "--to", "diffusers", "--out", str(out), "--dtype", "float32"]) == 0
    theirs = diffusers.WanTransformer3DModel.from_pretrained(out / "transformer")
    before = diffusers.WanTransformer3DModel.from_pretrained(home / "Wan" / "transformer")
    pairs = zip(theirs.state_dict().values(), before.state_dict().values(), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) > 1e-3
    words, before = (
        diffusers.WanPipeline.from_pretrained(path).text_encoder.state_dict() for path in (out, home / "Wan")
    )
    assert words.keys() == before.keys()
    assert all(np.array_equal(words[name], before[name]) for name in words)  # borrowed, as it was
