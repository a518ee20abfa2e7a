"""Reading, growing, writing and sharding a transformer that is trained; and the encoder of its clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from sorajax.data.buckets import Bucket
from sorajax.data.contexts import TEXT
from sorajax.data.latents import signature
from sorajax.data.videos.encoding import EncodeClips
from sorajax.devices.sharding import check_divides, split_over_all_devices
from sorajax.models.folder import TOKENIZER, Storage, export_model, load_model, model_folder
from sorajax.models.sora import EXPERTS, Expert, SoraConfig
from sorajax.pretrained.open import write_external_parts
from sorajax.pretrained.wan_folder import is_open_model, open_model
from sorajax.training.autoencoder import encoder
from sorajax.training.growth import deeper, finer
from sorajax.training.picture import picture_encoder
from sorajax.training.velocity import tokens_of_clip


@dataclass(frozen=True)
class TransformerFolder:
    """How a trained transformer is written to a model folder, with the other parts, and read from one."""

    tokenizer: str
    storage: Storage = "float32"
    shard_mib: float = 0.0
    external_parts: tuple[tuple[str, Path], ...] = ()
    """Parts of the exported model that stay in other folders."""
    expert: Expert | None = None
    """Which of two experts trains."""

    @property
    def frozen_text(self) -> bool:
        """Whether the text encoder is frozen."""
        return TEXT in dict(self.external_parts)

    @property
    def part(self) -> str:
        """The part of a whole model that "dit" is."""
        return EXPERTS[self.expert or "high"]

    def save(self, directory: Path, config: SoraConfig, params: dict[str, Any]) -> None:
        """Writes the model folder; parts that were not trained stay where they are."""
        named = {self.part if name == "dit" else name: part for name, part in params.items()}
        export_model(directory, named, config, self.tokenizer, self.storage, self.shard_mib)
        if self.external_parts:
            write_external_parts(directory, dict(self.external_parts))

    def load(self, directory: Path, config: SoraConfig) -> dict[str, Any]:
        """The parameters in an exported model, or in open weights where the text encoder is frozen.

        Fewer layers become as many as train (`deeper`), larger patches smaller ones (`finer`). Raises ValueError if
        they would be used with another tokenizer.
        """
        if self.frozen_text and is_open_model(directory):
            return {"dit": open_model(directory).parts[self.part].load("float32", split_over_all_devices())}
        found, params, tokenizer = load_model(directory, SoraConfig)
        if self.frozen_text and self.part not in params:
            raise ValueError(f"{directory} has no trained {self.part}: begin from a run of the same --expert")
        dit = deeper(finer(params[self.part], found.dit.patch, config.dit.patch), config.dit.depth)
        if self.frozen_text:
            return {"dit": dit}
        if tokenizer != self.tokenizer:
            kept = model_folder(directory) / TOKENIZER
            raise ValueError(f"{directory} has another tokenizer: say --tokenizer {kept}")
        return {"text": params["text"], "dit": dit}


def check_transformer_divides(config: SoraConfig, buckets: Sequence[Bucket], mesh: Mesh) -> None:
    """Raises ValueError where heads, widths or tokens do not divide over the mesh."""
    dit = config.dit
    check_divides(mesh, "tensor", "heads", dit.heads)
    check_divides(mesh, "tensor", "hidden units", dit.hidden)
    check_divides(mesh, "fsdp", "columns of width", dit.width)
    for bucket in buckets:
        tokens = tokens_of_clip(config.vae, dit, bucket)
        check_divides(mesh, "seq", f"tokens of a clip of {'x'.join(map(str, bucket.window))}", tokens)


def clip_encoding(config: SoraConfig, vae: Any, base: Path | None) -> tuple[Callable[[], EncodeClips], str]:
    """The function that opens the encoder of clips, as `encode_clips` takes it, and its signature; `base` is the folder
    of open weights whose image encoder is read where the model reads one."""
    if config.conditioning.needs_first_frame:
        assert base is not None  # such a model trains from open weights alone
        return picture_encoder(config, vae, base)
    return lambda: encoder(config.vae, vae), signature(vae["encoder"])
