"""What PEFT says of an adapter beside its weights: in `adapter_config.json` or, as diffusers keep it, in the file's own
metadata.

    W' = W + alpha / r B A                                  alpha_pattern and rank_pattern have those of single layers
    W' = W + alpha / sqrt(r) B A                            use_rslora (Kalajdzievski 2023)
    W' = m (W + alpha / r B A) / |W + alpha / r B A|        use_dora (Liu et al. 2024), with the norm of each output

Where a file has neither, it has its alpha in tensors, or in B.
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
"""What PEFT and diffusers call the weights of an adapter."""
ENDINGS = (".safetensors", *PICKLES)
NAMED = re.compile(
    r"\.(lora_[AB]|lora_magnitude_vector|lokr_w[12](?:_[ab])?)"
    r"(?:\.(?!weight$|bias$)([^.]+))?(?:\.(weight|bias))?$"
)
"""How names of tensors end: the part of the layer, the name of the adapter, weight or bias."""
KINDS = ("LORA", "LOKR")
OTHER_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Ways to begin that change the weights that an adapter is added to."""
OTHER_LAYERS = (
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "alora_invocation_tokens",
    "layer_replication",
    "target_parameters",
)
"""Settings with which an adapter is more than a change of weights, or of others than it says."""


def adapter_weights(path: Path) -> Path:
    """The file of weights in an adapter's folder, or that of the one adapter in a folder; any other path itself.

    Raises ValueError where a folder holds several adapters.
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


def unnamed(tensor: str) -> tuple[str, str]:
    """A tensor's name without that of the adapter, which stands in it where a whole model was saved; and the latter."""
    if not (found := NAMED.search(tensor)):
        return tensor, ""
    part, adapter, kind = found.groups()
    ending = f"{part}.{kind}" if kind and part in ("lora_A", "lora_B") else part
    return tensor[: found.start(1)] + ending, adapter or ""


def check_one(path: Path, tensors: Iterable[str]) -> None:
    """Raises ValueError where tensors are those of several named adapters."""
    if len(names := sorted({unnamed(tensor)[1] for tensor in tensors} - {""})) > 1:
        raise ValueError(f"{path} holds {len(names)} adapters ({', '.join(names)}): save one of them by itself")


class Settings(NamedTuple):
    """What is said of an adapter, and where."""

    source: Path
    said: Mapping[str, Any]

    def strength(self, module: str, rank: int | None) -> float:
        """What the change of a layer is multiplied by. `module` is its name in the model that PEFT saw, `rank` that of
        its matrices (None: they are whole). Raises ValueError where the rank is another than is said."""
        stated = self._own("rank_pattern", module, self.said.get("r"))
        if rank is not None and stated is not None and stated != rank:
            raise ValueError(
                f"{self.source} says rank {stated} of {module}, whose matrices have {rank}: the weights "
                "are of another adapter"
            )
        alpha = self._own("alpha_pattern", module, self.said.get("lora_alpha", self.said.get("alpha")))
        rank = rank or stated
        if alpha is None or rank is None:
            return 1.0
        return float(alpha) / (rank**0.5 if self.said.get("use_rslora") else rank)

    def _own(self, patterns: str, module: str, usual: Any) -> Any:
        """The value of the first pattern that is the module's name, or its end after a dot; else the usual one."""
        special = self.said.get(patterns) or {}
        return next((value for key, value in special.items() if re.match(rf"(.*\.)?({key})$", module)), usual)


def settings(path: Path, prefix: str) -> Settings:
    """What is said of the adapter in a file. `prefix` is what diffusers put before names of a transformer's settings.

    Raises ValueError for a config that is no JSON, or says what a change of weights does not express.
    """
    said = {name.removeprefix(prefix): value for name, value in in_metadata(path, "lora_adapter_metadata").items()}
    source = path
    if not said and (beside := _config_of(path)).is_file():
        source = beside
        try:
            said = json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{beside} is no JSON ({error}): save the adapter again") from error
        if not isinstance(said, dict):
            raise ValueError(f"{beside} is no JSON object: save the adapter again")
        said = {"r": 8, "lora_alpha": 8, **said} if said.get("peft_type", "LORA") == "LORA" else said
    _check(source, said)
    return Settings(source, said)


def _config_of(path: Path) -> Path:
    """The config of a file's adapter: the one beside it, unless there are other weights of which it may be."""
    if path.is_dir():
        return path / CONFIG
    others = [file for file in path.parent.glob("*") if file.suffix in ENDINGS and not file.name.startswith(".")]
    alone = path.stem in WEIGHTS or len(others) == 1
    return path.parent / CONFIG if alone else path / CONFIG  # the latter is no file


def _check(source: Path, said: Mapping[str, Any]) -> None:
    if (kind := said.get("peft_type", "LORA")) not in KINDS:
        raise ValueError(
            f"{source}: this adapter is a {kind}: sorajax reads {' and '.join(KINDS)}; merge it into the "
            "model with PEFT"
        )
    begun = str(said.get("init_lora_weights", True)).lower()
    if begun.startswith(OTHER_BASE):
        raise ValueError(
            f"{source}: init_lora_weights {begun} changes the weights that the adapter is added to: save "
            "it with PEFT's path_initial_model_for_weight_conversion"
        )
    if other := [name for name in OTHER_LAYERS if said.get(name)]:
        raise ValueError(
            f"{source}: {other[0]} is no change of weights that can be added: merge it into the model with PEFT"
        )


def metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file; nothing of anything else. Raises ValueError for a broken file."""
    if not Path(path).is_file() or Path(path).suffix in PICKLES:
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): download it again") from error


def in_metadata(path: str | Path, name: str) -> dict[str, Any]:
    """A JSON object in a file's metadata; nothing where there is none, or another program's text."""
    try:
        said = json.loads(metadata(path).get(name, "{}"))
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
