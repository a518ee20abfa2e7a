"""Records plays of a game. `python -m sorajax.record --help` is the manual.

The code is in `sorajax.commands.record`.
"""

import sys

from sorajax.commands.record import main

if __name__ == "__main__":
    sys.exit(main())
