"""The trained model that an experiment starts from: its folder, and whether an objective can train it."""

from pathlib import Path

from sorajax.models.folder import by_name
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.conventions import is_known
from sorajax.pretrained.hub import resolve_model
from sorajax.pretrained.wan_folder import is_open_model
from sorajax.training.objectives.flow import FlowObjective


def at_hand(base: Path) -> Path:
    """The folder of weights, downloaded where their name on the hub is given, and of a bundled model's name. Raises
    FileNotFoundError."""
    if not (folder := resolve_model(by_name(base))).exists():
        raise FileNotFoundError(
            f"{base} does not exist: give the folder of a model, or a name on the hub, e.g. "
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
        )
    return folder


def described(base: Path) -> Path:
    """The known name of open weights, or else their folder: enough for a plan."""
    return base if is_known(base) else at_hand(base)


def check_tunable(base: Path, config: SoraConfig, objective: FlowObjective) -> None:
    """Raises ValueError where a model cannot be trained with this objective."""
    if not config.conditioning.frame_clocks and objective.known > 0:
        raise ValueError(
            f"{base} was trained with one clock for all frames and objective.known is "
            f"{objective.known:g}: say --objective.known 0"
        )
    if (config.conditioning.needs_first_frame or config.boundary is not None) and not (
        is_known(base) or is_open_model(base)
    ):
        raise ValueError(f"{base} is no folder of open weights: name those it was trained from")
