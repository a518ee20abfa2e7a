"""Models and adapters by path or by name on the Hugging Face hub, from which they are downloaded."""

import errno
import re
from contextlib import suppress
from pathlib import Path

from sorajax.copies import fetched
from sorajax.files import Address, as_path
from sorajax.pretrained.conventions import is_known
from sorajax.pretrained.peft import CONFIG, WEIGHTS
from sorajax.pretrained.wan_folder import check_described


def resolve_model(model: str | Path) -> Path:
    """The folder of a model: the path itself, or the download of an address or of a name on the hub, which open models
    have without owner and layout, too. Of a training directory at an address the model alone is downloaded."""
    if not is_path(model):
        return download(hub_name(str(model)))
    path = as_path(model)
    if isinstance(path, Address) and path.exists() and (path / "model").is_dir():
        path = path / "model"
    return fetched(path)


def is_path(model: str | Path) -> bool:
    """Whether `model` is a path: it exists, or neither has the form OWNER/NAME nor is the name of an open model."""
    if Path(model).expanduser().exists():
        return True
    return not re.fullmatch(r"[\w.-]+/[\w.-]+", str(model)) and not is_known(Path(model))


def hub_name(model: str) -> str:
    """OWNER/NAME of a model on the hub: Wan-AI/Wan2.1-T2V-1.3B-Diffusers for Wan2.1-T2V-1.3B. Raises ValueError where a
    short name leaves the size open."""
    if "/" in model:
        return model
    if model.startswith("Wan2.1-I2V-14B") and "0P" not in model:
        raise ValueError(f"{model} is there for two sizes: use Wan2.1-I2V-14B-480P or Wan2.1-I2V-14B-720P")
    owner = "nvidia" if model.startswith("AnyFlow") else "Wan-AI"
    return f"{owner}/{model.removesuffix('-Diffusers')}-Diffusers"


def adapter_file(path: Path) -> Path:
    """The file of an adapter: the path itself, or the download of OWNER/MODEL/FILE on the hub. Raises FileNotFoundError
    where it can be neither found nor downloaded."""
    path = fetched(as_path(path))
    if path.exists() or path.is_absolute() or len(path.parts) < 3:
        return path
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    owner, model, *file = path.parts
    try:
        local = Path(hf_hub_download(f"{owner}/{model}", "/".join(file)))
        if path.stem in WEIGHTS:  # with PEFT's config, where there is one
            with suppress(EntryNotFoundError, LocalEntryNotFoundError):
                hf_hub_download(f"{owner}/{model}", "/".join([*file[:-1], CONFIG]))
        return local
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{path} is neither a file, nor could {'/'.join(file)} of {owner}/{model} be downloaded from the hub "
            f"({type(error).__name__}): check the name and the network"
        ) from error


def download(name: str) -> Path:
    """The folder of a model on the hub, downloaded unless it is in the cache. Index and configs are downloaded first,
    so that another kind of model is rejected before its weights are downloaded.

    HF_TOKEN, HF_HOME and HF_HUB_OFFLINE have their usual meaning. Raises FileNotFoundError where the download fails,
    OSError where the disk is full, and ValueError for another kind of model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        check_described(Path(snapshot_download(name, allow_patterns=["model_index.json", "*config.json"])), name)
        return Path(snapshot_download(name, ignore_patterns=["*.md", "assets/*", "examples/*"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise OSError(
                f"the disk is full, {name} is incomplete: free space, or set HF_HOME to another disk"
            ) from error
        raise FileNotFoundError(
            f"{name} is neither a folder nor could it be downloaded from the hub ({type(error).__name__}): check the "
            "name and the network, set HF_TOKEN for a private model, or download it and give its folder"
        ) from error
