"""The code corrects errors, and a random word has a right check as seldom as it promises."""

import numpy as np

from sorajax.safety import code


def test_every_payload_comes_back():
    rng = np.random.default_rng(0)
    payloads = [0, 1, 2**31, 2**32 - 1, *map(int, rng.integers(2**32, size=8))]
    assert code.decode(np.stack([code.encode(one) for one in payloads])) == payloads


def test_noise_is_corrected():
    """Noise as strong as the chips, which turns one in six."""
    rng = np.random.default_rng(1)
    payloads = [int(one) for one in rng.integers(2**32, size=50)]
    soft = np.stack([code.encode(one) for one in payloads])
    soft = soft + rng.normal(0, 1, soft.shape)
    assert np.mean([a == b for a, b in zip(code.decode(soft), payloads, strict=True)]) > 0.9


def test_noise_alone_has_no_payload():
    assert code.decode(np.random.default_rng(2).normal(size=(200, code.CHIPS))) == [None] * 200


def test_all_checks_are_equally_frequent():
    """The check is linear and onto, so that a right one has the probability 2^-28: single bits span all checks."""
    rows = [code.remainder(1 << place) for place in range(code.PAYLOAD)]
    rank = 0
    for bit in reversed(range(code.CHECK)):
        pivot = next((row for row in rows if row >> bit & 1), None)
        if pivot is not None:
            rank, rows = rank + 1, [row ^ pivot if row >> bit & 1 else row for row in rows if row is not pivot]
    assert rank == code.CHECK
    assert code.remainder(0b1011) == code.remainder(0b1000) ^ code.remainder(0b0010) ^ code.remainder(0b0001)


def test_two_words_differ_in_many_chips():
    """The free distance of the code is 18."""
    zero = code.encode(0)
    assert min(np.sum(code.encode(1 << place) != zero) for place in range(code.PAYLOAD)) >= 18
