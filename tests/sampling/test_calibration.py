"""A calibration belongs to one model, and a cached clip is nearly the uncached one."""

import json
import shutil

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands import convert, evaluate
from sorajax.diffusion.caching import MagCache
from sorajax.errors import BadRequest
from sorajax.evaluation.caching import calibrate, psnr, sampled
from sorajax.media.video import Video
from sorajax.models.folder import WORLD, export_model, load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import TARGETS, init_adapters, save_lora
from sorajax.sampling.calibration import FILE, identity_of, read_calibration, write_calibration
from sorajax.sampling.request import Request
from sorajax.tasks import animate

REQUEST = Request("a red ball", steps=8)


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """A copy of the tiny model, calibrated."""
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    shutil.copytree(tiny_model, folder)
    pipeline = sorajax.load(folder)
    with pytest.raises(BadRequest, match="is not calibrated for --cache mag: run python"):
        pipeline.plan(Request("a red ball", cache="mag"))
    assert calibrate(pipeline, REQUEST) == folder / FILE
    return folder


def test_a_calibrated_model_skips_evaluations(folder):
    pipeline = sorajax.load(folder)
    values = json.loads((folder / FILE).read_text())
    assert len(values["times"]) == len(values["ratios"]) == 8
    whole, total = sampled(pipeline, [REQUEST])
    assert total == 8
    for name in ("mag", "easy"):
        frames, count = sampled(pipeline, [Request("a red ball", steps=8, cache=name, cache_threshold=0.5)])
        assert 3 <= count < 8
        assert 20 < psnr(whole[0], frames[0]) <= 99
    (video,) = pipeline("a red ball", steps=8, cache="mag", cache_threshold=0.5)
    assert {"cache": "mag", "cache_threshold": 0.5}.items() <= video.metadata.items()


def test_fixed_frames_stay_fixed_with_a_cache(folder):
    pipeline = sorajax.load(folder)
    (clip,) = pipeline("a red ball", steps=8)
    (whole,) = animate(pipeline, Request("a red ball", steps=8), clip)
    for name in ("mag", "easy"):
        (made,) = animate(pipeline, Request("a red ball", steps=8, cache=name, cache_threshold=0.5), clip)
        assert np.array_equal(made.frames[0], whole.frames[0])
        assert not np.array_equal(made.frames, whole.frames)


def test_the_calibration_of_another_model_is_refused(folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadRequest, match="was calibrated for another model or other adapters") as caught:
        sorajax.load(folder).plan(Request("a red ball", cache="mag"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_converted_model_keeps_its_calibration_and_no_other_ones(tiny_model, tmp_path):
    """Its weights are in no single file; the signatures in its config tell it apart."""
    assert convert.main([str(tiny_model), "--out", str(tmp_path / "one")]) == 0
    assert calibrate(sorajax.load(tmp_path / "one"), REQUEST) == tmp_path / "one" / FILE
    assert sorajax.load(tmp_path / "one").plan(Request("a red ball", cache="mag")).cache.name == "mag"
    config, params, tokenizer = load_model(tiny_model, SoraConfig)
    params["dit"]["blocks"]["norm_cross"]["scale"] += 0.1
    export_model(tmp_path / "changed", params, config, tokenizer)
    assert convert.main([str(tmp_path / "changed"), "--out", str(tmp_path / "two")]) == 0
    shutil.copy(tmp_path / "one" / FILE, tmp_path / "two" / FILE)
    with pytest.raises(BadRequest, match="was calibrated for another model or other adapters"):
        sorajax.load(tmp_path / "two").plan(Request("a red ball", cache="mag"))


@pytest.mark.slow
def test_the_command_calibrates_a_model_with_its_adapter(tiny_model, tmp_path, capsys):
    """At a size and length of one's own; the calibration is in the model's folder, for that adapter alone."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config, params, _ = load_model(folder, SoraConfig)
    adapters = init_adapters(params["dit"], 2, TARGETS, jax.random.key(0))
    save_lora(tmp_path / "a.safetensors", adapters, config.dit, alpha=2.0)
    image = Video(np.full((1, 16, 24, 3), 99, np.uint8), 8.0).save(tmp_path / "first.png")
    asked = ["--model", str(folder), "--lora", str(tmp_path / "a.safetensors"), "--prompts", "a red ball"]
    asked += ["--size", "24x16", "--frames", "5", "--steps", "6", "--mag", "0.5", "--easy", "0.5"]
    assert evaluate.main(["caching", *asked, "--calibrate", "--image", str(image)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{folder / FILE}\n| cache |")
    assert "of 6 |" in printed
    assert len(json.loads((folder / FILE).read_text())["times"]) == 6
    with pytest.raises(BadRequest, match="other adapters"):
        sorajax.load(folder).plan(Request("a red ball", cache="mag"))


def test_a_calibration_does_not_fit_a_model_with_adapters(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    write_calibration(tmp_path, ["x/one.safetensors:1"], MagCache((1.0, 0.5), (1.0, 0.9), 0.1))
    assert read_calibration(tmp_path, ["y/one.safetensors:1"], "m", 0.2) == MagCache((1.0, 0.5), (1.0, 0.9), 0.2)
    for adapters in ([], ["x/one.safetensors:0.5"]):
        with pytest.raises(BadRequest, match="other adapters"):
            read_calibration(tmp_path, adapters, "m", 0.2)


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"model": 1, "times": [1], "ratios": [1, 2]}'])
def test_a_damaged_calibration_is_one_line(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BadRequest, match=FILE) as caught:
        read_calibration(tmp_path, [], "m", 0.2)
    assert "\n" not in str(caught.value)


def test_the_bundled_model_is_calibrated():
    assert json.loads((WORLD / FILE).read_text())["model"] == identity_of(WORLD)
