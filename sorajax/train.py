"""Trains a model from an experiment file. `python -m sorajax.train --help` is the manual.

The code is in `sorajax.commands.train`.
"""

import sys

from sorajax.commands.train import main
from sorajax.devices.compilation import claim_memory, keep_freed_memory
from sorajax.training.experiments import load_experiment

__all__ = ["load_experiment", "main"]

if __name__ == "__main__":
    claim_memory()
    keep_freed_memory()
    sys.exit(main())
