"""Lets tests import `benchmarks`, which stands beside the package and is no part of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
