"""Tests mirror the rooms of sorajax; each states laws."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "tests" / "configs"
