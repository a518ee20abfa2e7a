"""Makes videos. `python -m sorajax.sample --help` is the manual; the code is in `sorajax.commands.sample`."""

import gc

if __name__ == "__main__":
    gc.disable()  # until the model is loaded: a tenth of the time of all imports

from sorajax.commands.sample import leave, main

if __name__ == "__main__":
    leave(main())
