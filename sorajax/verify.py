"""Says where a file came from. `python -m sorajax.verify --help` is the manual; the code is in `sorajax.safety`."""

import sys

from sorajax.commands.verify import main

if __name__ == "__main__":
    sys.exit(main())
