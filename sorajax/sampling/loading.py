"""Opening a model for sampling: the embedded one, a trained or exported one, or open weights."""

from collections.abc import Sequence
from pathlib import Path

from sorajax.devices.compilation import claim_memory, enable_compilation_cache
from sorajax.files import Address, as_path
from sorajax.models.folder import BUNDLED, CONFIG
from sorajax.models.text import Tokenizer
from sorajax.pretrained.hub import is_path, resolve_model
from sorajax.pretrained.open import Bits, Dtype, Lora, open_parts
from sorajax.safety.policy import Policy
from sorajax.sampling.pipeline import Pipeline

EMBEDDED = "world"


def model_files(model: str | Path) -> Path:
    """The folder of a model that `load` opens, downloaded where it is a name on the hub. Raises FileNotFoundError."""
    if str(model) in BUNDLED:
        return BUNDLED[str(model)]
    if not isinstance(as_path(model), Address) and is_path(model) and not Path(model).expanduser().exists():
        raise FileNotFoundError(
            f"model {model} does not exist: use {', '.join(BUNDLED)}, the folder of a training run, of an exported "
            "model or of open weights, or a name on the hub, e.g. Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
        )
    return resolve_model(model)


def load(
    model: str | Path = EMBEDDED,
    dtype: Dtype | None = None,
    loras: Sequence[Lora] = (),
    quantize: Bits | None = None,
    mesh: str | None = None,
    policy: Policy | None = None,
    preset: str | None = None,
) -> Pipeline:
    """Opens a bundled model (`world`, or `world-fast`, which takes 4 evaluations), an exported one, the newest of a
    training directory, or an open one.

    model: for open weights a folder in either Wan layout, a folder that `sorajax.convert` wrote, or a name on the
    Hugging Face hub. dtype: of open weights and their matrix products; bfloat16 on accelerators and float32 on CPU by
    default. loras: adapter files, "FILE", "FILE:SCALE" or (file, scale); several add up.
    quantize: stores the weights of transformer and text encoder in 8 bits, see `models.quantized`.
    mesh: how several devices split the work, e.g. "data=2,seq=4": branches of guidance and clips over data, tokens over
    seq, heads over tensor. By default it is chosen for one clip of the model's own size, over all devices.
    policy: which checks and marks apply, see `safety.policy`; by default the user's.
    preset: the settings of a few-step adapter or model, see `pretrained.presets`; by default that which the adapters'
    files name, and "none" is none.

    Two settings of jax change, unless the caller or the environment set them: the persistent compilation cache is on,
    in the user's cache folder; and jax may allocate nearly all of a GPU's memory, if it has not looked for devices yet.
    Raises FileNotFoundError for a missing model, ValueError for damaged files or too little memory.
    """
    claim_memory()
    enable_compilation_cache()
    folder = model_files(model)
    found = open_parts(BUNDLED.get(str(model), model), dtype, loras, quantize, mesh=mesh, folder=folder, preset=preset)
    config, params, tokenizer, name = found
    adapters = [lora if isinstance(lora, str) else f"{lora[0]}:{lora[1]:g}" for lora in loras]
    options = {"dtype": dtype, "adapters": adapters, "quantize": quantize, "preset": config.preset}
    options = {option: value for option, value in options.items() if value}
    if (folder / "model" / CONFIG).is_file():  # a training directory
        folder /= "model"
    words = Tokenizer(tokenizer, config.text.tokens)
    return Pipeline(config, params, words, str(model) if str(model) in BUNDLED else name, options, folder, policy)
