"""The proof on one GPU: `python -m sorajax.benchmark gpu`.

    command.py   the request, the table, the file of figures
    limits.py    each part in a process of its own, with its own time limit
    parts.py     the parts' order and shares of the time
    figures.py   what a part measures: a value, its bar, whether it is met
    sizes.py     the shapes of all parts, true and toy
    __main__.py  one part, in its process
    numerics.py  sampling.py  training.py  world.py  peer.py (PyTorch)     the parts
    timing.py    figures of a timed program;  traces.py  where its time goes

The parent process never looks for devices, so that a part has the whole GPU, and a crash costs that part alone.
"""
