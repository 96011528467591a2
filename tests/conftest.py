"""Lets tests import `benchmarks`, which stands beside the package and is no part of it; and gives them event stores."""

import sys
from pathlib import Path

from event_stores import place, postgresql_url

__all__ = ["place", "postgresql_url"]

sys.path.append(str(Path(__file__).parents[1]))
