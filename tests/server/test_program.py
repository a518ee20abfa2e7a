"""Options of the real program that open the model: adapters and a mesh, as `sorajax.sample` has them."""

import time

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands.serve import main
from sorajax.media.video import Video
from sorajax.models.sora import init_dit
from sorajax.pretrained.lora import TARGETS, init_adapters, save_lora
from tests.conftest import TINY
from tests.server.conftest import PROMPT, Running
from tests.server.test_kill import Program, closed  # noqa: F401

pytestmark = pytest.mark.slow


def made(data, *options):
    """The video of a request, made by the program with these options on eight devices."""
    data.mkdir()
    program = Program("sorajax.serve", data, *options, devices=8)
    http = program.http
    while http.get("/readyz").status_code != 200:
        assert program.process.poll() is None
        time.sleep(0.2)
    video = Running.finished(program, http.post("/v1/videos", json={"prompt": PROMPT, "frames": 5, "seed": 1}))
    assert video["status"] == "completed", video["error"]
    path = data / "clip.mp4"
    path.write_bytes(http.get(f"/v1/videos/{video['id']}/content").content)
    program.end()
    return Video.load(path)


def sampled(folder, pipeline):
    """The clip of the same request, through a file, as the server's."""
    (clip,) = pipeline(PROMPT, frames=5, seed=1)
    return Video.load(clip.save(folder / "clip.mp4", overwrite=True))


def test_adapters_and_a_mesh_are_those_of_the_command_line(tiny_model, tmp_path):
    """One program with both, beside clips that are sampled here, on one device."""
    shapes = jax.eval_shape(lambda key: init_dit(TINY.dit, key), jax.random.key(0))
    adapters = init_adapters(shapes, 2, TARGETS, jax.random.key(0))
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), adapters)
    save_lora(tmp_path / "a.safetensors", adapters, TINY.dit, 2.0)
    adapter = f"{tmp_path / 'a.safetensors'}:0.5"
    served = made(tmp_path / "served", "--model", str(tiny_model), "--mesh", "data=2,seq=4", "--lora", adapter)
    plain, adapted = (sampled(tmp_path, sorajax.load(tiny_model, **options)) for options in ({}, {"loras": [adapter]}))
    assert served.metadata["adapters"] == [adapter]
    np.testing.assert_allclose(served.frames.astype(int), adapted.frames.astype(int), atol=3)
    assert np.abs(served.frames.astype(int) - plain.frames.astype(int)).max() > 3


@pytest.mark.parametrize("options", [("--mesh", "data=3"), ("--lora", "missing.safetensors"), ("--model", "missing")])
def test_a_model_that_cannot_be_opened_ends_the_program_with_one_line(tiny_model, tmp_path, capfd, options):
    given = options if "--model" in options else ("--model", str(tiny_model), *options)
    assert main(["--data", str(tmp_path), "--port", "0", *given]) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert lines[0].startswith("sorajax: the model cannot be opened")
