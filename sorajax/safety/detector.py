"""The detector: whether a file is as it was signed, in plain words.

A manifest shows any later change of its file. Where there is none, it may have been removed, or the file was never
signed: then the watermark is read from the frames. `State` says which it is.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from sorajax.errors import Note, one_line
from sorajax.media.formats import FILMS
from sorajax.media.video import Video
from sorajax.safety import watermark
from sorajax.safety.provenance import BINDING, COMPOSED, GENERATION, MADE, read_manifest

SECONDS = 10.0
"""The part of a film that is decoded."""
MARKS = (b"c2pa.claim", b"jumbc2pa")
"""Bytes that occur in files that have, or had, a manifest."""


class State(IntEnum):
    """The result of an inspection."""

    SOUND = 0
    UNMARKED = 1
    TAMPERED = 2
    UNREADABLE = 3
    WATERMARKED = 4

    @property
    def exit_code(self) -> int:
        """The exit code of `sorajax.verify`: 0 where the file is as signed, or has no manifest and its watermark is
        read."""
        return 0 if self is State.WATERMARKED else int(self)


CHANGES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("assertion.bmffHash", "assertion.dataHash", "assertion.boxesHash"),
        "frames or metadata were changed after signing, or the manifest is another file's",
    ),
    (("claimSignature.mismatch", "claimSignature.missing"), "the signature does not fit the manifest"),
    (("assertion.hashedURI", "assertion.missing", "claim.", "assertion.cbor"), "the manifest was changed"),
    (("signingCredential.expired", "claimSignature.outsideValidity"), "the certificate had ended when it signed"),
    (("signingCredential.",), "the certificate is not one that signs files"),
    (("timeStamp.",), "the time stamp does not fit"),
)
"""Meanings of the first codes of a failed validation (C2PA specification 2.2, section 15)."""
UNTRUSTED = "signingCredential.untrusted"
"""The certificate is unknown, as every self-made one is."""


@dataclass(frozen=True)
class Report:
    """The findings on a file.

    manifest: trusted, valid, invalid or not_present. changed: what was changed, in words. Others are as the manifest
    states, "" where it does not. ingredients: titles of given files. watermark: identifiers, in hexadecimal, as the
    manifest states or, where there is none, as they are read. words: the result in whole sentences.
    """

    state: State
    manifest: Literal["trusted", "valid", "invalid", "not_present"] = "not_present"
    changed: tuple[str, ...] = ()
    issuer: str = ""
    program: str = ""
    model: str = ""
    made: str = ""
    ingredients: tuple[str, ...] = ()
    watermark: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON values; the state as a word."""
        return {**asdict(self), "state": self.state.name.lower()}


def inspect(path: Path, anchors: bytes = b"", key: str = watermark.KEY) -> Report:
    """The report on a file. anchors: PEM certificates that are trusted. key: the watermark's."""
    path = path.expanduser()
    if not path.is_file():
        return Report(State.UNREADABLE, words=(f"{path} is no file: give the path of a picture or video.",))
    try:
        store, broken = read_manifest(path, anchors), ""
    except ValueError as error:
        store, broken = None, one_line(error)
    if store is not None:
        return on_manifest(store)
    try:
        video = decode(path)
    except (OSError, ValueError) as error:
        return Report(State.UNREADABLE, words=(f"The file cannot be read ({one_line(error)}).",))
    if broken and has_remains(path):
        changed = ("the manifest is damaged",)
        return Report(State.TAMPERED, "invalid", changed, words=(f"The manifest cannot be read ({broken}).",))
    if found := tuple(f"{one:08x}" for one in watermark.read(video.frames, key)):
        return Report(State.WATERMARKED, watermark=found, words=(*on_watermark(found),))
    words = "No mark was found: the file was never signed, or its manifest was removed, and no watermark is read."
    return Report(State.UNMARKED, words=(words,))


def on_watermark(found: Sequence[str]) -> Iterator[str]:
    """Sentences on a file's watermark."""
    yield "The file has no manifest, but a watermark is read: an algorithm made it, or parts of it, with sorajax."
    yield f"The identifier of the watermark is {' and '.join(found)}."
    yield "It does not show whether the file was changed since."


def decode(path: Path) -> Video:
    """The first seconds of a film, or a picture. Raises ValueError or OSError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)
        return Video.load(path, end=SECONDS if path.suffix.lower() in FILMS else math.inf)


def has_remains(path: Path) -> bool:
    """Whether a file contains bytes of a manifest."""
    content = path.read_bytes()
    return any(mark in content for mark in MARKS)


def on_manifest(store: Mapping[str, Any]) -> Report:
    """The report on a file with a manifest that can be read, from c2pa-python's description of it."""
    active = store["manifests"].get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    failures = [one["code"] for one in results.get("failure", []) if one["code"] != UNTRUSTED]
    state = str(store.get("validation_state", "Invalid")).lower()
    manifest: Any = state if state in ("valid", "trusted") and not failures else "invalid"
    assertions = {one["label"]: one["data"] for one in active.get("assertions", [])}
    generation = assertions.get(GENERATION, {})
    done = (data for label, data in assertions.items() if label.startswith("c2pa.actions"))
    actions: list[dict[str, Any]] = next((data.get("actions", []) for data in done), [])
    program = " ".join(str(active.get("claim_generator_info", [{}])[0].get(name, "")) for name in ("name", "version"))
    signature = active.get("signature_info", {})
    blocks = assertions.get(BINDING, {}).get("blocks", [])
    known = {
        "manifest": manifest,
        "issuer": str(signature.get("issuer", "")),
        "program": program.strip(),
        "model": str(generation.get("model", "")),
        "made": str(signature.get("time") or next((one["when"] for one in actions if "when" in one), "")),
        "ingredients": tuple(str(one.get("title", "")) for one in active.get("ingredients", [])),
        "watermark": tuple(str(one.get("value", "")) for one in blocks),
    }
    if manifest == "invalid":
        changed = tuple(dict.fromkeys(meaning(code) for code in failures)) or ("the manifest is not valid",)
        words = ("The file is not as it was signed.", *(f"{one[0].upper()}{one[1:]}." for one in changed))
        return Report(State.TAMPERED, changed=changed, words=words, **known)
    return Report(State.SOUND, words=(*described(known, actions, bool(signature.get("time"))),), **known)


def meaning(code: str) -> str:
    """The meaning of a code of a failed validation."""
    return next((words for starts, words in CHANGES if code.startswith(starts)), f"the check {code} failed")


def described(known: Mapping[str, Any], actions: list[dict[str, Any]], stamped: bool) -> list[str]:
    """Sentences on a file that is as signed."""
    sources = {one.get("digitalSourceType") for one in actions}
    words = ["The file is as it was signed."]
    if MADE in sources:
        words.append(f"An algorithm made it{' with the model ' + known['model'] if known['model'] else ''}.")
    elif COMPOSED in sources:
        words.append(f"An algorithm made parts of it{' with the model ' + known['model'] if known['model'] else ''}.")
    else:
        words.append("The manifest does not say that an algorithm made it.")
    if known["ingredients"]:
        words.append(f"It was made from {', '.join(known['ingredients'])}.")
    clock = "a time-stamp authority says" if stamped else "the signer's clock says"
    words.append(
        f"Written by {known['program'] or 'an unknown program'}, at {known['made'] or 'no stated time'} ({clock} so)."
    )
    if known["manifest"] == "valid":
        signer = known["issuer"] or "unknown"
        words.append(
            f"The certificate ({signer}) is not on a list of trusted ones: anybody can make such a certificate."
        )
    else:
        words.append(f"The certificate of {known['issuer']} is trusted.")
    return words
