"""Cases of a parametrised test of which some run by default."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_after(count: int, cases: Iterable[Any]) -> list[Any]:
    """`cases` for `pytest.mark.parametrize`, all but the first `count` of them marked as slow."""
    kept = list(cases)
    rest = [case if isinstance(case, tuple) else (case,) for case in kept[count:]]
    return kept[:count] + [pytest.param(*case, marks=pytest.mark.slow) for case in rest]
