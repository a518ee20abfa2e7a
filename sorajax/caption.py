"""Describes videos in words. `python -m sorajax.caption --help` is the manual.

The code is in `sorajax.commands.caption`.
"""

import sys

from sorajax.commands.caption import main

if __name__ == "__main__":
    sys.exit(main())
