"""Folders and files by their paths, or by their names on the Hugging Face hub, downloaded where they are missing."""

import errno
import re
from contextlib import suppress
from pathlib import Path

from sorajax.pretrained.peft import CONFIG, WEIGHTS
from sorajax.pretrained.wan_folder import check_described


def found(model: str | Path) -> Path:
    """The folder that is meant: of this path, or of this name on the hub."""
    return Path(model).expanduser() if is_path(model) else downloaded(str(model))


def is_path(model: str | Path) -> bool:
    """Whether a path is meant, and not a name on the hub."""
    return Path(model).expanduser().exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(model))


def adapter_file(path: Path) -> Path:
    """The file of adapters that is meant: of this path, or of a hub's model, OWNER/MODEL/FILE. Raises
    FileNotFoundError where it cannot be had."""
    if path.exists() or path.is_absolute() or len(path.parts) < 3:
        return path
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    owner, model, *file = path.parts
    try:
        found = Path(hf_hub_download(f"{owner}/{model}", "/".join(file)))
        if path.stem in WEIGHTS:  # PEFT's config lies beside it, where there is one
            with suppress(EntryNotFoundError, LocalEntryNotFoundError):
                hf_hub_download(f"{owner}/{model}", "/".join([*file[:-1], CONFIG]))
        return found
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{path} is neither a file, nor could {'/'.join(file)} of {owner}/{model} be downloaded from the hub "
            f"({type(error).__name__}): check the name and the network"
        ) from error


def downloaded(name: str) -> Path:
    """The folder of a model of the hub, downloaded where it is not in the cache: its index and configs first, so that
    no other kind of model is fetched.

    HF_TOKEN, HF_HOME and HF_HUB_OFFLINE work as everywhere. Raises FileNotFoundError where it cannot be had, OSError
    where the disk is full, and ValueError for another kind of model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        check_described(Path(snapshot_download(name, allow_patterns=["model_index.json", "*config.json"])), name)
        return Path(snapshot_download(name, ignore_patterns=["*.md", "assets/*", "examples/*"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise OSError(f"the disk is full before {name} is whole: make place, or say where with HF_HOME") from error
        raise FileNotFoundError(
            f"{name} is neither a folder nor could it be downloaded from the hub ({type(error).__name__}): check the "
            "name and the network, set HF_TOKEN for a private model, or download it and give its folder"
        ) from error
