"""Plans memory and time on other machines. `python -m sorajax.plan --help` is the manual.

The code is in `sorajax.commands.plan`.
"""

import sys

from sorajax.commands.plan import main

if __name__ == "__main__":
    sys.exit(main())
