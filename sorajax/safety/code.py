"""The watermark's error-correcting code: a payload and its checksum under a convolutional code.

    word = payload (32 bits), its cyclic redundancy check (28 bits), 8 zeros
    chips = the word convolved with three polynomials: code of rate 1/3 and constraint length 9

The polynomials (octal 557, 663, 711) have the largest free distance, 18 (Larsen 1973, table III). The decoder is
Viterbi's (1967), with soft values. It always finds some word; that a random one has a correct checksum has the
probability 2^-28, which bounds false alarms.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

PAYLOAD, CHECK = 32, 28
LENGTH = 9
POLYNOMIALS = (0o557, 0o663, 0o711)
STATES = 2 ** (LENGTH - 1)
CHIPS = len(POLYNOMIALS) * (PAYLOAD + CHECK + LENGTH - 1)
"""Chips of a word."""
DIVISOR = 0x18F90E3B
"""Polynomial of the check, of degree 28. Its last bit is 1, so that all 2^28 checks are equally frequent."""


def encode(payload: int) -> Float[np.ndarray, " chips"]:
    """The chips, 1 or -1, of a payload of 32 bits."""
    word, register, chips = payload << CHECK | remainder(payload), 0, []
    for place in reversed(range(-LENGTH + 1, PAYLOAD + CHECK)):
        bit = word >> place & 1 if place >= 0 else 0
        register = (register << 1 | bit) & (2**LENGTH - 1)
        chips += [1 - 2 * parity(register & polynomial) for polynomial in POLYNOMIALS]
    return np.array(chips, np.float32)


def decode(soft: Float[np.ndarray, "n chips"]) -> list[int | None]:
    """The payload of the most likely word of each row, from values whose signs are the chips and whose sizes their
    confidence; None where its checksum is wrong."""
    before, chips = trellis()
    scores = np.full((len(soft), STATES), -np.inf, np.float32)
    scores[:, 0] = 0
    came = []
    for three in soft.astype(np.float32).reshape(len(soft), -1, len(POLYNOMIALS)).swapaxes(0, 1):
        both = scores[:, before] + (three @ chips.reshape(-1, len(POLYNOMIALS)).T).reshape(-1, STATES, 2)
        came.append(both[..., 1] > both[..., 0])
        scores = both.max(-1)
    rows, states, words = np.arange(len(soft)), np.zeros(len(soft), int), np.zeros(len(soft), np.uint64)
    for place, choice in enumerate(reversed(came)):
        if place >= LENGTH - 1:
            words |= (states & 1).astype(np.uint64) << np.uint64(place - LENGTH + 1)
        states = before[states, choice[rows, states].astype(int)]
    found = [divmod(int(word), 2**CHECK) for word in words]
    return [payload if check == remainder(payload) else None for payload, check in found]


@cache
def trellis() -> tuple[Int[np.ndarray, "states 2"], Float[np.ndarray, "states 2 3"]]:
    """The two states before each state, and the chips on the way from each."""
    state = np.arange(STATES)
    before = np.stack([state >> 1 | half << (LENGTH - 2) for half in (0, 1)], 1)
    register = before << 1 | (state & 1)[:, None]
    chips = [[[1 - 2 * parity(int(r) & p) for p in POLYNOMIALS] for r in row] for row in register]
    return before, np.array(chips, np.float32)


def remainder(payload: int) -> int:
    """The check of a payload."""
    value = payload << CHECK
    for place in reversed(range(CHECK, PAYLOAD + CHECK)):
        if value >> place & 1:
            value ^= DIVISOR << (place - CHECK)
    return value


def parity(value: int) -> int:
    """Whether the number of ones is odd."""
    return value.bit_count() & 1
