"""Open weights, from a prompt to frames: folders that the reference wrote, against what the reference makes of them."""

import jax
import numpy as np
import PIL.Image
import pytest

import sorajax
from sorajax import tasks
from sorajax.request import Request
from sorajax.video import Video

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

from tests.pretrained import reference  # noqa: E402

torch.set_num_threads(1)  # the models are tiny
PROMPT, NEGATIVE = "a red  ball &amp; bounces", "slowly"
FRAMES, HEIGHT, WIDTH, STEPS = 9, 32, 48, 4


def text_to_video(boundary=None):
    low = reference.transformer(seed=1) if boundary else None
    return diffusers.WanPipeline(
        tokenizer=reference.tokenizer(), text_encoder=reference.text_encoder(), transformer=reference.transformer(),
        transformer_2=low, vae=reference.autoencoder(), scheduler=reference.scheduler(), boundary_ratio=boundary)


def image_to_video(image, boundary=None):
    inputs = 2 * reference.CHANNELS + 4
    low = reference.transformer(inputs, image=image, seed=1) if boundary else None
    return diffusers.WanImageToVideoPipeline(
        tokenizer=reference.tokenizer(), text_encoder=reference.text_encoder(),
        transformer=reference.transformer(inputs, image=image), transformer_2=low, vae=reference.autoencoder(),
        scheduler=reference.scheduler(5.0), boundary_ratio=boundary,
        image_encoder=reference.image_encoder() if image else None,
        image_processor=reference.image_processor() if image else None)


def text_and_image_to_video(kind):
    return kind(
        tokenizer=reference.tokenizer(), text_encoder=reference.text_encoder(),
        transformer=reference.transformer(48, 48), vae=reference.autoencoder_22(),
        scheduler=reference.scheduler(5.0), expand_timesteps=True)


MODELS = {
    "Wan2.1-T2V": lambda: text_to_video(),
    "Wan2.2-T2V-A14B": lambda: text_to_video(boundary=0.875),
    "Wan2.1-I2V": lambda: image_to_video(image=80),
    "Wan2.2-I2V-A14B": lambda: image_to_video(image=None, boundary=0.9),
    "Wan2.2-TI2V": lambda: text_and_image_to_video(diffusers.WanPipeline),
    "Wan2.2-TI2V, from an image": lambda: text_and_image_to_video(diffusers.WanImageToVideoPipeline),
}


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_pipeline_agrees_from_the_same_noise(name, tmp_path):
    theirs = MODELS[name]()
    theirs.set_progress_bar_config(disable=True)
    folder = tmp_path / name.split(",")[0]
    theirs.save_pretrained(folder, max_shard_size="60KB")
    pipeline = sorajax.load(folder)
    height, width = (HEIGHT, WIDTH) if "TI2V" not in name else (64, 96)
    given = reference.picture(height, width) if "Image" in type(theirs).__name__ else None
    request = Request((PROMPT,), NEGATIVE, seed=5, frames=FRAMES, height=height, width=width, steps=STEPS,
                      guidance_scale=3.0)
    if given is None:
        ours = next(pipeline.stream(request, pipeline.plan(request))).frames
    else:
        ours = next(tasks.animate(pipeline, request, Video(given[None], 16.0))).whole().frames
    t, h, w, c = pipeline.plan(request).latent
    noise = np.asarray(jax.random.normal(jax.random.key(5), (t, h, w, c)))
    more = {} if given is None else {"image": PIL.Image.fromarray(given)}
    with torch.no_grad():
        expected = theirs(
            prompt=PROMPT, negative_prompt=NEGATIVE, height=height, width=width, num_frames=FRAMES,
            num_inference_steps=STEPS, guidance_scale=3.0, latents=torch.tensor(np.moveaxis(noise, -1, 0)[None]),
            output_type="np", **more).frames[0]
    assert expected.std() > 0.02
    assert psnr(ours, np.round(expected * 255)) > 50
