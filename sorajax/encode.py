"""Encodes videos beforehand. `python -m sorajax.encode --help` is the manual.

The code is in `sorajax.commands.encode`.
"""

import sys

from sorajax.commands.encode import main

if __name__ == "__main__":
    sys.exit(main())
