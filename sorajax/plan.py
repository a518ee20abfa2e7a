"""Says what fits, before renting. `python -m sorajax.plan --help` is the manual.

The code is in `sorajax.commands.plan`.
"""

import sys

from sorajax.commands.plan import main

if __name__ == "__main__":
    sys.exit(main())
