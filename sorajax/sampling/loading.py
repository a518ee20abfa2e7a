"""Opening a model for sampling: the one that comes with sorajax, an exported or trained one, or open weights."""

from collections.abc import Sequence
from pathlib import Path

from sorajax.devices.compilation import claim_memory, enable_compilation_cache
from sorajax.models.folder import WORLD
from sorajax.models.text import Tokenizer
from sorajax.pretrained.open import Bits, Dtype, Lora, open_parts
from sorajax.sampling.pipeline import Pipeline

EMBEDDED = "world"


def load(
    model: str | Path = EMBEDDED,
    dtype: Dtype | None = None,
    loras: Sequence[Lora] = (),
    quantize: Bits | None = None,
) -> Pipeline:
    """The model that comes with sorajax (`world`), an exported one, the newest of a training directory, or an open one.

    An open model is a folder of Wan weights (either layout), what `sorajax.convert` made of it, or its name on the
    Hugging Face hub. dtype: of its weights and matrix products; bfloat16 on accelerators and float32 on CPU by default.
    loras: adapter files, "FILE", "FILE:SCALE" or (file, scale); several add up.
    quantize: keeps the weights of transformer and text encoder in 8 bits, see `models.quantized`.
    Turns on jax's persistent compilation cache in the user's cache folder, unless jax is told where, or not to, and
    lets jax have nearly all of a GPU's memory, unless it looked for devices before or is told another share.
    Raises FileNotFoundError where nothing is found and ValueError for damaged files or too little memory.
    """
    claim_memory()
    enable_compilation_cache()
    embedded = str(model) == EMBEDDED
    config, params, tokenizer, name = open_parts(WORLD if embedded else model, dtype, loras, quantize)
    adapters = [lora if isinstance(lora, str) else f"{lora[0]}:{lora[1]:g}" for lora in loras]
    opened = {"dtype": dtype, "adapters": adapters, "quantize": quantize}
    opened = {what: said for what, said in opened.items() if said}
    return Pipeline(config, params, Tokenizer(tokenizer, config.text.tokens), EMBEDDED if embedded else name, opened)
