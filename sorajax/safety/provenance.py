"""Provenance: a signed C2PA manifest in each file (C2PA specification 2.2), written and read with c2pa-python.

A manifest says that a trained algorithm made the clip, with which model, version, settings and time; given pictures and
clips are its ingredients, with their own manifests. Its signature and hashes show later changes of the file.

The prompt is not in the manifest: it stands in the file's own metadata, which the manifest's hash covers.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sorajax import __version__
from sorajax.copies import fetched
from sorajax.errors import BadRequest, note
from sorajax.safety.certificates import Credentials
from sorajax.safety.watermark import ALGORITHM

KINDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/avi",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""Suffixes of files that can have a manifest, and their MIME types."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE, COMPOSED = f"{SOURCE_TYPE}trainedAlgorithmicMedia", f"{SOURCE_TYPE}compositeWithTrainedAlgorithmicMedia"
SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},  # of a webp it would be 20 times the file
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
GENERATION = "org.sorajax.generation"
"""Label of the assertion with the settings."""
BINDING = "c2pa.soft-binding"
"""Label of the assertion with the watermark's identifier."""
PRIVATE = ("prompt", "prompts", "negative", "shots", "scenes", "storyboard")
"""Settings that are not repeated in the manifest."""

Role = Literal["parentOf", "componentOf", "inputTo"]


@dataclass(frozen=True)
class Ingredient:
    """An input picture or clip. role: its frames are in the output, as the first (parentOf) or a further one
    (componentOf); or the output was generated from it (inputTo). file: None if it was no file."""

    role: Role
    file: Path | None


@cache
def available() -> bool:
    """Whether c2pa-python is installed and loads; else a note says once that files are not signed."""
    if find_spec("c2pa") is not None:
        try:
            import c2pa

            return bool(c2pa.sdk_version())
        except (ImportError, OSError, RuntimeError):  # a native library that this system does not load
            pass
    note("files are not signed: c2pa-python is missing; install it, or set provenance = false (docs/safety.md)")
    return False


def sign(
    path: Path,
    suffix: str,
    settings: Mapping[str, Any],
    signer: Credentials,
    task: str = "text",
    ingredients: Sequence[Ingredient] = (),
    timestamps: str = "",
    title: str | None = None,
    identifier: int | None = None,
) -> None:
    """Adds a signed manifest to a file, in place. settings: the clip's metadata. timestamps: a time-stamp authority.
    identifier: the watermark's.

    Raises BadRequest if the credentials or the authority do not sign.
    """
    import c2pa

    kind, signed = KINDS[suffix], path.with_name(path.name + ".signed")
    chosen = c2pa.C2paSignerInfo(b"es256", signer.chain, signer.key, timestamps.encode() or None)
    try:
        with ExitStack() as stack:
            context = stack.enter_context(c2pa.Context.from_dict(SETTINGS))
            definition = manifest(settings, task, ingredients, title or f"clip{suffix}", kind, identifier)
            builder = stack.enter_context(c2pa.Builder(definition, context))
            for number, ingredient in enumerate(ingredients):
                add_ingredient(builder, ingredient, number)
            with path.open("rb") as source, signed.open("w+b") as out:
                builder.sign(stack.enter_context(c2pa.Signer.from_info(chosen)), kind, source, out)
        os.replace(signed, path)
    except c2pa.C2paError as error:
        raise BadRequest(
            f"the file cannot be signed ({one_word(error)}): see certificates in docs/safety.md"
        ) from error
    finally:
        signed.unlink(missing_ok=True)


def one_word(error: Exception) -> str:
    """An error of the library on one line."""
    return " ".join(str(error).split())[:200]


def manifest(
    settings: Mapping[str, Any],
    task: str,
    ingredients: Sequence[Ingredient],
    title: str,
    kind: str,
    identifier: int | None = None,
) -> dict[str, Any]:
    """The definition of a manifest, as c2pa-python reads it."""
    agent = {"name": "sorajax", "version": __version__}
    values = {name: value for name, value in settings.items() if name not in PRIVATE}
    done, bindings = actions(task, ingredients, agent), []
    if identifier is not None:
        done.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent})
        block = {"scope": {}, "value": f"{identifier:08x}"}
        bindings.append({"label": BINDING, "data": {"alg": ALGORITHM, "blocks": [block]}})
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": kind,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": done}},
            {"label": GENERATION, "data": {**values, "task": task}},
            *bindings,
        ],
    }


def actions(task: str, ingredients: Sequence[Ingredient], agent: Mapping[str, str]) -> list[dict[str, Any]]:
    """The manifest's actions: created; or an input clip opened, others placed beside it, and the whole edited."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    by_role = {role: [name_of(n) for n, one in enumerate(ingredients) if one.role == role] for role in ROLES}
    common = {"when": now, "softwareAgent": dict(agent)}
    if not by_role["parentOf"]:
        more = {"parameters": {"ingredientIds": by_role["inputTo"]}} if by_role["inputTo"] else {}
        return [{"action": "c2pa.created", "digitalSourceType": MADE, "description": task, **common, **more}]
    found = [{"action": "c2pa.opened", "parameters": {"ingredientIds": by_role["parentOf"]}}]
    if by_role["componentOf"]:
        found.append({"action": "c2pa.placed", "parameters": {"ingredientIds": by_role["componentOf"]}, **common})
    return [*found, {"action": "c2pa.edited", "digitalSourceType": COMPOSED, "description": task, **common}]


ROLES: tuple[Role, ...] = ("parentOf", "componentOf", "inputTo")


def name_of(number: int) -> str:
    """The label by which actions name an ingredient."""
    return f"ingredient-{number}"


def add_ingredient(builder: Any, ingredient: Ingredient, number: int) -> None:
    """Adds an input file, with its manifest if it has one; a file that cannot have one by its title alone."""
    import io

    file = ingredient.file
    definition = {"title": "frames" if file is None else file.name, "relationship": ingredient.role}
    definition |= {"label": name_of(number)}
    kind = None if file is None else KINDS.get(file.suffix.lower())
    if file is None or kind is None:
        builder.add_ingredient(definition, "application/octet-stream", io.BytesIO(b""))
        return
    with fetched(file).open("rb") as source:
        builder.add_ingredient(definition, kind, source)


def read_manifest(path: Path, anchors: bytes = b"") -> dict[str, Any] | None:
    """The manifest store of a file as c2pa-python reports it, with its `validation_state`; None if it has none.

    anchors: PEM certificates that are trusted. Raises ValueError for a file that cannot be read.
    """
    import c2pa

    trust = {"trust": {"trust_anchors": anchors.decode()}} if anchors else {}
    verify = {**SETTINGS["verify"], "verify_trust": bool(anchors)}
    try:
        with c2pa.Context.from_dict({**trust, "verify": verify}) as context, path.open("rb") as file:
            reader = c2pa.Reader.try_create(KINDS.get(path.suffix.lower()), file, context=context)
            if reader is None:
                return None
            with reader:
                found: dict[str, Any] = json.loads(reader.json())
                return found
    except c2pa.C2paError as error:
        if "ManifestNotFound" in type(error).__name__:
            return None
        raise ValueError(one_word(error)) from error
