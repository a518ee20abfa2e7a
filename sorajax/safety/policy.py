"""The policy: which checks and marks apply. This is the one place to switch a part off.

A research fork edits the defaults below. A user or an operator writes `policy.toml`, in the folder that
`sorajax.safety.certificates.config_folder` returns or named with `sorajax.serve --policy FILE`:

    prompts = false                       # no prompt filter
    certificate = "/etc/sorajax/chain.pem"
    key = "/etc/sorajax/key.pem"

Python passes `sorajax.load(policy=Policy(frames=False))`.
"""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sorajax.errors import BadRequest, Refused, note
from sorajax.safety.certificates import config_folder
from sorajax.safety.watermark import KEY

FILE = "policy.toml"
LOG = "refusals.jsonl"


@dataclass(frozen=True)
class Policy:
    """Switches and settings of each part. Raises BadRequest for a value that is not allowed.

    provenance: files carry a signed C2PA manifest. certificate, key: PEM files of the operator's own certificate chain
    and private key (ES256); both or neither, then they are made on first use. timestamps: address of a time-stamp
    authority (RFC 3161), none by default: each signature asks it over the network.
    watermark: frames carry an identifier. watermark_key: who does not know it cannot read or write the identifier.
    prompts: the prompt filter. moderator: address of an OpenAI-compatible server whose /moderations is asked, too.
    frames: the frame filter, of given files and of outputs. threshold: score from 0 to 1 at which a frame is refused.
    classifier: your own, as a function from uint8 frames [t, h, w, 3] to a score each, or "MODULE:FUNCTION".
    refusals: the log of refusals, "" for `refusals.jsonl` in the folder of settings.
    """

    provenance: bool = True
    certificate: str = ""
    key: str = ""
    timestamps: str = ""
    watermark: bool = True
    watermark_key: str = KEY
    prompts: bool = True
    moderator: str = ""
    moderator_model: str = "omni-moderation-latest"
    frames: bool = True
    threshold: float = 0.8
    classifier: str | Callable[..., Any] = ""
    refusals: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            is_function = field.name == "classifier" and callable(value)
            is_whole = kind is float and isinstance(value, int) and not isinstance(value, bool)
            if not (isinstance(value, kind) or is_function or is_whole):
                example = json.dumps(field.default)
                raise BadRequest(f"policy: {field.name} = {value!r} is not allowed: write e.g. {example}")
        if not 0 < self.threshold <= 1:
            raise BadRequest(f"policy: threshold = {self.threshold:g} is not allowed: use 0 to 1, e.g. 0.8")
        if bool(self.certificate) != bool(self.key):
            given, missing = ("certificate", "key") if self.certificate else ("key", "certificate")
            raise BadRequest(f"policy: {given} is set and {missing} is not: name both PEM files, or none")
        for name in ("certificate", "key"):
            path = getattr(self, name)
            if path and not Path(path).expanduser().is_file():
                raise BadRequest(f"policy: {name} = {path} does not exist: name a PEM file")
        for name in ("timestamps", "moderator"):
            address = getattr(self, name)
            if address and urlsplit(address).scheme not in ("http", "https"):
                raise BadRequest(f"policy: {name} = {address} is no address: write https://...")

    def own_classifier(self) -> Callable[..., Any] | None:
        """The user's own classifier of frames. Raises BadRequest if it cannot be imported."""
        if not isinstance(self.classifier, str):
            return self.classifier
        if not self.classifier:
            return None
        module, _, name = self.classifier.partition(":")
        try:
            function: Callable[..., Any] = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise BadRequest(f"policy: classifier = {self.classifier} ({error}): write MODULE:FUNCTION") from error
        return function


def read_policy(path: Path | None = None) -> Policy:
    """The policy of a file, or of the user's `policy.toml`; where that does not exist, the defaults. Raises
    BadRequest."""
    file = config_folder() / FILE if path is None else path.expanduser()
    if path is None and not file.is_file():
        return Policy()
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"{file} cannot be read ({error.strerror}): name a policy file") from error
    except ValueError as error:
        raise BadRequest(f"{file} is not TOML ({error}): write e.g. prompts = false") from error
    known = [field.name for field in fields(Policy)]
    if unknown := sorted(set(values) - set(known)):
        raise BadRequest(f"{file}: {unknown[0]} is not a setting: use {', '.join(known)}")
    try:
        return Policy(**values)
    except BadRequest as error:
        raise BadRequest(f"{file}: {error}") from error


def refuse(policy: Policy, what: str, category: str, remedy: str) -> Refused:
    """The error of a refusal, which is written to the log: time, what was refused and why, no prompt and no frame."""
    file = Path(policy.refusals).expanduser() if policy.refusals else config_folder() / LOG
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "refused": what, "category": category}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
    except OSError as error:
        note(f"{file} cannot be written ({error.strerror}): the refusal is not logged")
    return Refused(f"{what} is refused ({category}): {remedy}", category)
