"""Image-to-video models read their first frame from mask channels and an image encoder."""

import dataclasses

import jax
import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import load_file, save_file

import sorajax
from sorajax import tasks
from sorajax.commands import convert
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.sampling.request import Request, StoryboardScene

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from sorajax.tasks.shaping import with_size  # noqa: E402
from tests.pretrained import reference  # noqa: E402

torch.set_num_threads(1)  # the models are tiny
PROMPT, NEGATIVE = "a red ball bounces", "slowly"
HEIGHT, WIDTH = 32, 48


def test_an_exported_image_model_runs_in_the_reference(tmp_path):
    theirs = reference.silent(reference.MODELS["Wan2.1-I2V"])
    theirs.save_pretrained(tmp_path / "new")
    assert convert.main([str(tmp_path / "new"), "--out", str(tmp_path / "fast"), "--dtype", "float32"]) == 0
    assert convert.main([str(tmp_path / "fast"), "--to", "diffusers", "--out", str(tmp_path / "back")]) == 0
    again = reference.silent(lambda: diffusers.WanImageToVideoPipeline.from_pretrained(tmp_path / "back"))
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    made = [
        pipe(
            image=picture,
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            height=HEIGHT,
            width=WIDTH,
            num_frames=5,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).frames
        for pipe in (theirs, again)
    ]
    np.testing.assert_allclose(*made, atol=1e-5)


def test_unused_norms_of_an_image_model_are_not_read(tmp_path):
    """The files of Wan 2.1's image-to-video models hold them, and the reference ignores them."""
    folder = tmp_path / "i2v"
    reference.silent(reference.MODELS["Wan2.1-I2V"]).save_pretrained(folder)
    before = sorajax.load(folder).params["dit"]
    (file,) = (folder / "transformer").glob("*.safetensors")
    tensors = load_file(file)
    unread = {f"blocks.{layer}.attn2.norm_added_q.weight": np.zeros(40, np.float32) for layer in range(2)}
    save_file({**tensors, **unread}, file, {"format": "pt"})
    jax.tree.map(np.testing.assert_array_equal, sorajax.load(folder).params["dit"], before)


def test_an_image_model_refuses_a_request_without_an_image(tmp_path):
    reference.silent(reference.MODELS["Wan2.2-I2V-A14B"]).save_pretrained(tmp_path / "i2v")
    pipeline = sorajax.load(tmp_path / "i2v")
    with pytest.raises(BadRequest, match="i2v goes on from a picture, or from a clip's end: say --image"):
        pipeline("a red ball", frames=5, width=32, height=32)
    for size, wanted in (((1024, 1024), (624, 624)), ((480, 832), (480, 832)), ((1080, 1920), (464, 832))):
        picture = Video(np.zeros((1, *size, 3), np.uint8), 1.0)
        fitting = with_size(pipeline, Request((PROMPT,)), picture)  # as the reference does, and cuts nothing away
        assert (fitting.height, fitting.width) == wanted
        assert not any("may look worse" in note for note in pipeline.plan(fitting).notes)
    clip = Video(np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8), 16.0)
    pipeline.config = dataclasses.replace(pipeline.config, frames=(9,))
    asked = Request((PROMPT,), frames=10, steps=1, width=32, height=32)
    (longer,) = tasks.extend(pipeline, asked, clip, "forward")
    assert longer.frames.shape == (15, 32, 32, 3)
    assert np.array_equal(longer.frames[:5], clip.frames)


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "Wan2.2-I2V-A14B"])
def test_an_image_model_makes_films_and_storyboards(name, tmp_path, monkeypatch):
    """Each window is told on its channels, in the kept latents themselves, and by an image encoder where the model has
    one, of its own first frame; the first shot and every cut begin from a picture."""
    reference.silent(reference.MODELS[name]).save_pretrained(tmp_path / "i2v")
    pipeline = sorajax.load(tmp_path / "i2v")
    pipeline.config = dataclasses.replace(pipeline.config, frames=(9,))
    told, seen, sampled = [], [], pipeline.denoiser.sample

    def recorded(clips, settings, times, known, beside, *more, **named):
        told.append(np.asarray(beside.channels[0]))
        seen.append(None if beside.image is None else np.asarray(beside.image[0]))
        return sampled(clips, settings, times, known, beside, *more, **named)

    monkeypatch.setattr(pipeline.denoiser, "sample", recorded)
    still = Video(np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8), 1.0)
    asked = Request((PROMPT,), seconds=0.8, steps=1, width=32, height=32, guidance_scale=1.0)
    (film,) = (made.whole() for made in tasks.animate(pipeline, asked, still))
    assert film.frames.shape == (13, 32, 32, 3)
    assert [window[..., :4].any((1, 2, 3)).sum() for window in told] == [1, 2]
    if name == "Wan2.1-I2V":
        for tokens, frame in zip(seen, (still.frames[0], film.frames[4]), strict=True):
            np.testing.assert_allclose(tokens, pipeline.denoiser.image_tokens(frame), atol=1e-4)
    tuple(tasks.animate(pipeline, dataclasses.replace(asked, seconds=0.5), still))  # in one window
    np.testing.assert_allclose(told[0], told[2], atol=1e-4)
    again = np.asarray(pipeline.codec.encode(film.frames[4:9]))
    assert np.abs(told[1][0, ..., 4:] - again[0]).max() < 1e-3
    assert np.abs(told[1][1, ..., 4:] - again[1]).max() > 1e-3
    for direction in ("backward", "both"):  # before anything is made
        with pytest.raises(BadRequest, match="cannot extend a clip backward: use --direction forward"):
            next(tasks.extend(pipeline, asked, film, direction))
    assert len(told) == 3
    with pytest.raises(BadRequest, match="i2v needs a first frame, and shot 1 has none: give --image"):
        tuple(tasks.text(pipeline, asked))
    still.save(tmp_path / "still.png")
    asked = dataclasses.replace(asked, seconds=None)
    scenes = [
        StoryboardScene("a", 0.5, "cut", tmp_path / "still.png"),
        StoryboardScene("b", 0.5),
        StoryboardScene("c", 0.5, "cut"),
    ]
    with pytest.raises(BadRequest, match="and shot 3 has none: leave out 'Cut to:', or give a storyboard"):
        tuple(tasks.storyboard(pipeline, asked, scenes))
    (board,) = (made.whole() for made in tasks.storyboard(pipeline, asked, scenes[:2]))
    assert len(board.frames) == 16
