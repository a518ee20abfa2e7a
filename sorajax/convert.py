"""Converts models between layouts. `python -m sorajax.convert --help` is the manual.

The code is in `sorajax.commands.convert`.
"""

import sys

from sorajax.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
