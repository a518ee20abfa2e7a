"""Safety and provenance: signed manifests, a watermark, and filters of prompts and frames.

`policy.py` is the one place where each part is switched on or off. `finishing.py` puts the parts to work: a pipeline
checks prompts and given files with it, and each video carries it to its files.
"""
