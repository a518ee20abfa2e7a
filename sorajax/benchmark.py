"""Measures speed and memory. `python -m sorajax.benchmark --help` is the manual.

The code is in `sorajax.commands.benchmark`.
"""

import sys

from sorajax.commands.benchmark import main
from sorajax.devices.compilation import keep_freed_memory

if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
