"""Makes videos. `python -m sorajax.sample --help` is the manual; the code is in `sorajax.commands.sample`."""

from sorajax.commands.sample import leave, main

if __name__ == "__main__":
    leave(main())
