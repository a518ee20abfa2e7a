"""Evaluation, encoding and training on two processes of four devices: what one process makes, and hosts that differ."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from sorajax.commands import encode, evaluate
from sorajax.data.contexts import Contexts
from sorajax.data.records import Records
from sorajax.models.folder import WORLD, export_model
from tests.commands.test_sample_hosts import ended, launched
from tests.conftest import TINY, tiny_tokenizer
from tests.data.videos.films import film, moving
from tests.weights import init

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model that takes the world's prompts and sizes."""
    config = replace(TINY, text=replace(TINY.text, tokens=64), frames=(17, 1), sizes=((64, 64), (64, 96)))
    shapes, rng = jax.eval_shape(partial(init, config), jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.1, 0.3, leaf.shape).astype(np.float32), shapes)
    return export_model(tmp_path_factory.mktemp("model"), params, config, tiny_tokenizer())


@pytest.mark.parametrize(
    "words",
    [
        ["world", "--num", "4", "--splits", "seen", "style"],
        ["world", "--num", "4", "--splits", "seen", "--mesh", "data=2,seq=4"],
        ["tasks", "--num", "1", "--rows", "between", "image"],
    ],
    ids=["shared", "together", "tasks"],
)
def test_two_processes_measure_what_one_does(model, tmp_path, words):
    one, two = (tmp_path / f"{name}.json" for name in ("one", "two"))
    alone = words[: words.index("--mesh")] if "--mesh" in words else words
    assert evaluate.main([*alone, "--model", str(model), "--json", str(one)]) == 0
    words = [*words, "--model", model, "--json", two]
    (code, out, err), other = ended(launched("evaluate", words, words))
    assert code == 0, err
    assert out.split() == [str(two)]
    assert other == (0, "", ""), "only process 0 prints"
    assert one.read_text() == two.read_text()


def test_two_processes_encode_what_one_does(tmp_path):
    folder, outs = tmp_path / "videos", (tmp_path / "one", tmp_path / "two")
    folder.mkdir()
    for seed in range(5):
        film(folder / f"{seed}.mp4", moving(seed, 9, (40, 40)))
        (folder / f"{seed}.txt").write_text(f"square number {seed % 2}")
    words = [folder, "--buckets", "5x32x32", "--batch", "2", "--videos-per-part", "2", "--vae", WORLD, "--text", WORLD]
    one, two = ([str(word) for word in (*words, "--out", out)] for out in outs)
    assert encode.main(one) == 0
    (code, _, err), other = ended(launched("encode", two, two))
    assert code == 0, err
    assert other == (0, "", ""), "only process 0 prints"
    check_equal(*outs)
    part = next(outs[1].glob("latents/*/00001.json"))
    kept = {path: path.stat().st_mtime_ns for path in outs[1].glob("latents/*/*") if not path.name.startswith("00001")}
    part.unlink()
    for code, _, err in ended(launched("encode", two, two)):
        assert code == 0, err
    check_equal(*outs)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished parts stay"


def check_equal(one, two):
    """The folders have the same files, and about the same values in them."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) for folder in (one, two)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".json"):
            assert (one / name).read_text() == (two / name).read_text()
        elif name.startswith("latents"):
            for place in range(2 if "00002" not in name else 1):
                rows = [Records([folder / name], [2])[place] for folder in (one, two)]
                latents = [row.pop("latent").astype(np.float32) for row in rows]
                np.testing.assert_allclose(*latents, atol=2e-2)
                assert rows[0] == rows[1]
    made_by = next((one / "text").iterdir()).name
    found = [Contexts([folder], made_by, 48)(["square number 0", "", "square number 1"]) for folder in (one, two)]
    np.testing.assert_allclose(*(context["context"].astype(np.float32) for context in found), atol=2e-2)


@pytest.mark.parametrize(
    ("module", "words", "more"),
    [
        ("evaluate", ["world", "--model", "MODEL", "--json", "OUT/a.json"], ["--seed", "1"]),
        ("encode", ["OUT", "--out", "OUT/made"], ["--fps", "4"]),
        ("train", ["tests/configs/toy.py", "--directory", "OUT/run"], ["--loop.seed", "1"]),
    ],
)
def test_hosts_with_other_options_are_named_in_one_line(model, tmp_path, module, words, more):
    words = [word.replace("MODEL", str(model)).replace("OUT", str(tmp_path)) for word in words]
    for number, (code, out, err) in enumerate(ended(launched(module, words, [*words, *more]))):
        assert (code, out) == (1, "")
        assert err.startswith(f"sorajax: process {number}: process 1 has other options than process 0 (")
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing was computed"


def test_hosts_that_train_from_other_weights_are_named(tmp_path):
    texts = []
    for number in range(2):
        vae = tmp_path / str(number) / "vae"
        vae.mkdir(parents=True)
        (vae / "config.json").write_text(str(number))
        texts.append(["configs/world_dit.py", "--vae", vae, "--directory", tmp_path / "run"])
    for code, _, err in ended(launched("train", *texts)):
        assert code == 1
        assert "process 1 has other weights than process 0 (" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
