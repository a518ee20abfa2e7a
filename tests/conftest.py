"""What all tests share: how XLA runs, and a random model small enough to compile and run in seconds."""

import os
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

# Eight virtual devices for what is sharded, and LLVM unoptimised: compiling takes longer than running here. Of jaxlib's
# two code generators the one that later versions lack compiles in two thirds of the time, and large programs in another
# quarter less where LLVM gets them as one module.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    * version("jaxlib").startswith("0.10."),
)
# What one test process has compiled serves the next, and small programs are many.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "sorajax-tests-compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Keys and policies of the user stay out of it.
os.environ["SORAJAX_CONFIG"] = str(Path(tempfile.gettempdir()) / "sorajax-tests-config")

import jax
import numpy as np
import pytest

from sorajax.models.dit import DiTConfig
from sorajax.models.folder import export_model
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from tests.weights import init

WORDS = ("[UNK]", "a", "the", "on", "red", "blue", "grey", "floor", "ball", "box", "bounces", "falls", "left", "right")
TINY = SoraConfig(
    text=TextConfig(vocabulary=len(WORDS), width=8, hidden=16, depth=1, heads=2, head_width=4, tokens=12),
    dit=DiTConfig(
        width=16, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, text_width=8, frequencies=8, remat="none"
    ),
    vae=VAEConfig(base=4, multipliers=(1, 1, 1), strides=((2, 2), (2, 2)), residual_blocks=1, latent_channels=4),
    sizes=((16, 16), (16, 24)),
    frames=(5, 1),
    steps=2,
)


def tiny_tokenizer() -> str:
    """Every word of WORDS is one token; letters of other words are unknown."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


@pytest.fixture(scope="session", autouse=True)
def no_filter_of_frames():
    """It is a network that runs for each clip that is written; tests of safety have settings of their own."""
    settings = Path(os.environ["SORAJAX_CONFIG"])
    settings.mkdir(exist_ok=True)
    (settings / "policy.toml").write_text("frames = false\n")


@pytest.fixture(scope="session", autouse=True)
def sampling_on_one_device():
    """Of the virtual devices the first samples, as on most machines, where a test does not name a mesh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sorajax.devices.placement.sampling_devices", lambda: jax.devices()[:1])
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a tiny random model; random in every leaf, so that nothing is hidden by a zero."""
    shapes = jax.eval_shape(partial(init, TINY), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.1, 0.3, leaf.shape).astype(np.float32), shapes)
    return export_model(tmp_path_factory.mktemp("tiny"), params, TINY, tiny_tokenizer())
