"""PEFT's settings of an adapter, from `adapter_config.json` or, as in diffusers, from the metadata of its weights.

    W' = W + alpha / r B A                                  alpha_pattern and rank_pattern: values of single layers
    W' = W + alpha / sqrt(r) B A                            use_rslora (Kalajdzievski 2023)
    W' = m (W + alpha / r B A) / |W + alpha / r B A|        use_dora (Liu et al. 2024), with the norm of each output

Files without settings have alpha in tensors, or multiplied into B.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from sorajax.pretrained.pickles import PICKLES

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model", "pytorch_lora_weights")
"""Stems of an adapter's weights in PEFT and diffusers."""
ENDINGS = (".safetensors", *PICKLES)
NAMED = re.compile(
    r"\.(lora_[AB]|lora_magnitude_vector|lokr_w[12](?:_[ab])?)"
    r"(?:\.(?!weight$|bias$)([^.]+))?(?:\.(weight|bias))?$"
)
"""End of a tensor's name: the part of the update, the name of the adapter, weight or bias."""
KINDS = ("LORA", "LOKR")
OTHER_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Initialisations that change the base weights."""
OTHER_LAYERS = (
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "alora_invocation_tokens",
    "layer_replication",
    "target_parameters",
)
"""Settings of adapters that are no additive update of the weights, or of other weights than the tensors' names say."""


def adapter_weights(path: Path) -> Path:
    """The weights file in an adapter's folder, also where a folder contains the folder of one adapter; other paths are
    returned as they are.

    Raises ValueError for a folder with several adapters.
    """
    if not path.is_dir():
        return path
    for name in (f"{stem}{ending}" for stem in WEIGHTS for ending in ENDINGS):
        if (path / name).is_file():
            return path / name
    named = sorted(config.parent for config in path.glob(f"*/{CONFIG}"))
    if len(named) > 1:
        names = ", ".join(one.name for one in named)
        raise ValueError(f"{path} holds {len(named)} adapters ({names}): give the folder of one")
    return adapter_weights(named[0]) if named else path


def split_adapter_name(tensor: str) -> tuple[str, str]:
    """(the tensor's name without the adapter's, the adapter's name); the latter occurs where a whole model was saved,
    and is empty otherwise."""
    if not (match := NAMED.search(tensor)):
        return tensor, ""
    part, adapter, kind = match.groups()
    ending = f"{part}.{kind}" if kind and part in ("lora_A", "lora_B") else part
    return tensor[: match.start(1)] + ending, adapter or ""


def check_one(path: Path, tensors: Iterable[str]) -> None:
    """Raises ValueError where the tensors belong to several named adapters."""
    if len(names := sorted({split_adapter_name(tensor)[1] for tensor in tensors} - {""})) > 1:
        raise ValueError(f"{path} holds {len(names)} adapters ({', '.join(names)}): save one of them by itself")


class Settings(NamedTuple):
    """Settings of an adapter, and the file that they are from."""

    source: Path
    values: Mapping[str, Any]

    def strength(self, module: str, rank: int | None) -> float:
        """The factor of a layer's update. `module` is the layer's name in the model that PEFT trained, `rank` the rank
        of its matrices (None: they are not factorised). Raises ValueError where the settings have another rank."""
        stated = self._of_module("rank_pattern", module, self.values.get("r"))
        if rank is not None and stated is not None and stated != rank:
            raise ValueError(
                f"{self.source} has rank {stated} for {module}, whose matrices have {rank}: the weights "
                "are of another adapter"
            )
        alpha = self._of_module("alpha_pattern", module, self.values.get("lora_alpha", self.values.get("alpha")))
        rank = rank or stated
        if alpha is None or rank is None:
            return 1.0
        return float(alpha) / (rank**0.5 if self.values.get("use_rslora") else rank)

    def _of_module(self, patterns: str, module: str, default: Any) -> Any:
        """The value of the first pattern that matches the module's name, or its end after a dot; else the default."""
        by_pattern = self.values.get(patterns) or {}
        return next((value for key, value in by_pattern.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def read_settings(path: Path, prefix: str) -> Settings:
    """The settings of the adapter in a file. `prefix` is diffusers' prefix of the names of a transformer's settings.

    Raises ValueError for a config that is no JSON, and for adapters that are no additive update of weights.
    """
    values = {name.removeprefix(prefix): value for name, value in json_metadata(path, "lora_adapter_metadata").items()}
    source = path
    if not values and (config := _config_of(path)).is_file():
        source = config
        try:
            values = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{config} is no JSON ({error}): save the adapter again") from error
        if not isinstance(values, dict):
            raise ValueError(f"{config} is no JSON object: save the adapter again")
        values = {"r": 8, "lora_alpha": 8, **values} if values.get("peft_type", "LORA") == "LORA" else values
    _check(source, values)
    return Settings(source, values)


def _config_of(path: Path) -> Path:
    """The config of the adapter in a file: the one in its folder, unless that may belong to other weights there."""
    if path.is_dir():
        return path / CONFIG
    others = [file for file in path.parent.glob("*") if file.suffix in ENDINGS and not file.name.startswith(".")]
    is_unambiguous = path.stem in WEIGHTS or len(others) == 1
    return path.parent / CONFIG if is_unambiguous else path / CONFIG  # the latter does not exist


def _check(source: Path, values: Mapping[str, Any]) -> None:
    if (kind := values.get("peft_type", "LORA")) not in KINDS:
        raise ValueError(
            f"{source}: this adapter is a {kind}: sorajax reads {' and '.join(KINDS)}; merge it into the "
            "model with PEFT"
        )
    initialisation = str(values.get("init_lora_weights", True)).lower()
    if initialisation.startswith(OTHER_BASE):
        raise ValueError(
            f"{source}: init_lora_weights {initialisation} changes the weights that the adapter is added to: save "
            "it with PEFT's path_initial_model_for_weight_conversion"
        )
    if other := [name for name in OTHER_LAYERS if values.get(name)]:
        raise ValueError(
            f"{source}: {other[0]} is no change of weights that can be added: merge it into the model with PEFT"
        )


def metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files. Raises ValueError for a damaged file."""
    if not Path(path).is_file() or Path(path).suffix in PICKLES:
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): download it again") from error


def json_metadata(path: str | Path, name: str) -> dict[str, Any]:
    """A JSON object in a file's metadata; empty where it is missing, or no JSON object."""
    try:
        value = json.loads(metadata(path).get(name, "{}"))
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
