"""How XLA runs in processes that tests start."""

import os
import re


def xla_flags(devices: int = 1) -> str:
    """XLA_FLAGS of this process, with so many devices: what a test process has compiled serves those it starts."""
    return re.sub(r"(device_count)=\d+", rf"\1={devices}", os.environ["XLA_FLAGS"])
