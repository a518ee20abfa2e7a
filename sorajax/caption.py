"""Describes videos in words. `python -m sorajax.caption --help` is the manual.

The code is in `sorajax.commands.caption`.
"""

from sorajax.commands.caption import main
from sorajax.commands.sample import leave

if __name__ == "__main__":
    leave(main())
