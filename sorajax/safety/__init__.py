"""Safety and provenance: signed manifests, a watermark, and filters of prompts and frames.

`policy.py` is the one place where each part is switched on or off. `finishing.py` applies the parts: a pipeline checks
prompts and input files with it, and each video carries it to its files.
"""
