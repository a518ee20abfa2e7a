"""Conversion of a SentencePiece model (`spiece.model`, `*.spm`) into the JSON of the `tokenizers` library, with equal
encodings.

Supports the unigram models (Kudo 2018) of T5 and umT5, and reads from their protobuf the pieces with log-probabilities,
the table of character replacements, and the treatment of spaces. An end-of-sentence token follows each text, as in T5.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ENDINGS = (".model", ".spm")
SPACE = "▁"
"""SentencePiece's symbol for a space."""
UNIGRAM = 1
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
"""Kinds of pieces in its protobuf."""


class Piece(NamedTuple):
    text: str
    score: float
    kind: int


def tokenizer_in(folder: Path) -> str:
    """The tokenizer of a folder as JSON: its tokenizer.json or, where that is missing, its SentencePiece model.

    Raises FileNotFoundError where there is neither, and ValueError as `convert` does.
    """
    if (path := folder / "tokenizer.json").is_file():
        return tokenizer_json(path)
    models = sorted(file for file in folder.glob("*") if file.suffix in ENDINGS and not file.name.startswith("."))
    if not models:
        raise FileNotFoundError(f"{path} is missing: download the model again, with its tokenizer")
    return tokenizer_json(models[0])


def tokenizer_json(path: Path) -> str:
    """The JSON of a tokenizer file of either kind."""
    return convert(path) if path.suffix in ENDINGS else path.read_text(encoding="utf-8")


def convert(path: Path) -> str:
    """The JSON of a SentencePiece model. Raises ValueError for other files, and for other models than unigram ones."""
    try:
        model = _fields(path.read_bytes())
        pieces = [_piece(content) for content in model[1]]
        trained, normal = (_fields(model.get(number, [b""])[0]) for number in (2, 3))
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise ValueError(f"{path} is no SentencePiece model: download it again") from error
    if (kind := _number(trained, 3, UNIGRAM)) != UNIGRAM:
        raise ValueError(
            f"{path} is a SentencePiece model of kind {kind}, and only unigram models (1) are read: give "
            "its tokenizer.json"
        )
    return _tokenizer(pieces, trained, normal)


def _tokenizer(pieces: list[Piece], trained: dict[int, list[Any]], normal: dict[int, list[Any]]) -> str:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    unknown, end = _number(trained, 40, 0), _number(trained, 42, 2)
    fallback = bool(_number(trained, 35, 0))
    scores = [(piece.text, piece.score) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=unknown, byte_fallback=fallback))
    steps: list[Any] = [normalizers.Precompiled(table)] if (table := normal.get(2, [b""])[0]) else []
    if _number(normal, 4, 1):  # removes extra spaces, but no other white space
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if _number(normal, 5, 1):
        steps.append(normalizers.Replace(" ", SPACE))
    before: list[Any] = []
    if _number(normal, 3, 1):  # prepends a space, also to a text that begins with one, for which Metaspace would not
        steps.append(normalizers.Replace(Regex(rf"\A{SPACE}"), SPACE * 2))
        before.append(pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=False))
    if own := [piece.text for piece in pieces if piece.kind == USER_DEFINED]:  # are never split
        either = "|".join(re.escape(text) for text in sorted(own, key=len, reverse=True))
        before.append(pre_tokenizers.Split(Regex(either), behavior="isolated"))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)  # type: ignore[assignment]
    if before:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before)  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace(SPACE)  # type: ignore[assignment]
    tokenizer.add_special_tokens(
        [AddedToken(piece.text, normalized=False, special=True) for piece in pieces if piece.kind in (UNKNOWN, CONTROL)]
    )
    if 0 <= end < len(pieces):
        ending = (pieces[end].text, end)
        tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single=f"$A {ending[0]}", special_tokens=[ending]
        )
    return tokenizer.to_str()


def _piece(content: bytes) -> Piece:
    fields = _fields(content)
    (score,) = struct.unpack("<f", fields.get(2, [bytes(4)])[0])
    return Piece(fields[1][0].decode(), score, _number(fields, 3, NORMAL))


def _number(fields: dict[int, list[Any]], number: int, usual: int) -> int:
    """The last value of a field of signed numbers; `usual` where it is missing."""
    value = fields.get(number, [usual])[-1]
    return value - 2**64 if value >= 2**63 else value


def _fields(content: bytes) -> dict[int, list[Any]]:
    """The values of each field of a protobuf message, by field number."""
    fields: dict[int, list[Any]] = {}
    for number, value in _read(content):
        fields.setdefault(number, []).append(value)
    return fields


def _read(content: bytes) -> Iterator[tuple[int, Any]]:
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        kind, size = key & 7, {1: 8, 5: 4}.get(key & 7, 0)
        if kind == 0:
            value, place = _varint(content, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(content, place)
        if (not size and kind != 2) or place + size > len(content):
            raise ValueError(f"kind {kind} at byte {place}")
        yield key >> 3, content[place : place + size]
        place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
