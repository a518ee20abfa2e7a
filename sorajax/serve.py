"""Serves videos over HTTP. `python -m sorajax.serve --help` is the manual; the code is in `sorajax.server`."""

import sys

from sorajax.commands.serve import main

if __name__ == "__main__":
    sys.exit(main())
