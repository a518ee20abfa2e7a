"""A SentencePiece model encodes as the library that made it does."""

import struct

import pytest
from tokenizers import Tokenizer

from sorajax.pretrained.sentencepiece import CONTROL, NORMAL, UNKNOWN, convert, tokenizer_in

PIECES = [
    ("<pad>", 0, CONTROL),
    ("</s>", 0, CONTROL),
    ("<unk>", 0, UNKNOWN),
    ("▁", -4, NORMAL),
    ("▁a", -1.5, NORMAL),
    ("▁red", -2, NORMAL),
    ("▁ball", -2, NORMAL),
    ("ball", -3, NORMAL),
    ("s", -3, NORMAL),
    ("▁balls", -9, NORMAL),
    *((letter, -6, NORMAL) for letter in "abdelr"),
]
TEXTS = [
    "a cat  runs 在海边!",
    "  The QUICK brown fox 🦊🦊",
    "émotion\n日本 カ",
    "",
    "  ",
    " a ",
    "ﬁre ½ Ａ\t b",
    "▁a",
    "x▁y",
    "fox<s2>foxes",
    "the quick brown fox flies over the city at night, 4k",
]


def varint(value):
    value &= 2**64 - 1
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def message(*fields):
    """A protobuf message of (number, value): numbers, floats, texts and messages."""
    made = b""
    for number, value in fields:
        if isinstance(value, int):
            made += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            made += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            content = value.encode() if isinstance(value, str) else value
            made += varint(number << 3 | 2) + varint(len(content)) + content
    return made


def model(kind=1, pieces=PIECES):
    parts = [(1, message((1, text), (2, float(score)), (3, kind))) for text, score, kind in pieces]
    return message(*parts, (2, message((3, kind), (40, 2), (41, -1), (42, 1), (43, 0))), (3, message((1, "identity"))))


def test_a_prompt_becomes_its_likeliest_pieces_and_an_end_token(tmp_path):
    (tmp_path / "spiece.model").write_bytes(model())
    tokenizer = Tokenizer.from_str(tokenizer_in(tmp_path))
    encoded = tokenizer.encode(" a red  balls")
    assert encoded.tokens == ["▁a", "▁red", "▁ball", "s", "</s>"]
    assert encoded.ids == [4, 5, 6, 8, 1]
    assert tokenizer.decode(encoded.ids) == "a red balls"
    assert tokenizer.encode("red x").ids == [5, 3, 2, 1]
    assert tokenizer.encode("").ids == [1]
    assert tokenizer.get_vocab_size() == len(PIECES)
    (tmp_path / "tokenizer.json").write_text("its own", encoding="utf-8")
    assert tokenizer_in(tmp_path) == "its own"


def test_a_file_that_is_no_unigram_model_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is missing: download the model again"):
        tokenizer_in(tmp_path)
    path = tmp_path / "x.spm"
    path.write_bytes(model(kind=2))
    with pytest.raises(ValueError, match=r"kind 2, and only unigram models \(1\) are read: give its tokenizer\.json"):
        convert(path)
    for content in (b"", b"junk", b"version https://git-lfs.github.com/spec/v1\n", model()[:-5], model()[:40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.spm is no SentencePiece model"):
            convert(path)


@pytest.mark.parity
@pytest.mark.parametrize(
    "settings",
    [
        {"byte_fallback": True, "vocab_size": 320, "normalization_rule_name": "nmt_nfkc"},
        {"normalization_rule_name": "identity"},
        {"normalization_rule_name": "nmt_nfkc_cf", "user_defined_symbols": ["fox", "<s2>"], "add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
    ],
)
def test_sentencepiece_encodes_the_same(settings, tmp_path):
    library = pytest.importorskip("sentencepiece", reason="the parity extra is not installed")
    (tmp_path / "texts").write_text("\n".join(TEXTS * 40), encoding="utf-8")
    library.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"),
        model_prefix=str(tmp_path / "spiece"),
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 120, **settings},
    )
    theirs = library.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    ours = Tokenizer.from_str(tokenizer_in(tmp_path))
    for text in TEXTS:
        assert ours.encode(text).ids == [*theirs.encode(text), 1], text
