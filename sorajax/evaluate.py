"""Measures a model of the world. `python -m sorajax.evaluate --help` is the manual.

The code is in `sorajax.commands.evaluate`.
"""

import sys

from sorajax.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
