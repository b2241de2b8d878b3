"""Defaults and names that a command's help shows, apart from what computes with them: this imports no library."""

from pathlib import Path

RUN_NAMES = ("demo", "control", "small", "tiny", "paper", "improved")
"""Named settings of a training (config.py)."""
SAMPLING_STEPS = 25
"""Sampling steps of the paper."""
DRAFT_STEPS = 6
"""Of a draft, which is to be heard soon: our choice."""
WEIGHTS_FOLDER = Path("data/weights")
"""Folder of the metrics' extractors' weights, seen from the repository's root."""
THREADS_VARIABLE = "DRAWAUDIO_THREADS"
"""Environment variable: auto, or a number of threads; a command's --threads comes first."""
