"""Averages trained models. `python -m sorajax.average --help` is the manual.

The code is in `sorajax.commands.average`.
"""

import sys

from sorajax.commands.average import main

if __name__ == "__main__":
    sys.exit(main())
