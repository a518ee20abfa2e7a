"""Plays in a world. `python -m sorajax.play --help` is the manual.

The code is in `sorajax.commands.play`.
"""

import sys

from sorajax.commands.play import main

if __name__ == "__main__":
    sys.exit(main())
