"""Load through the same route as everybody's requests, held against the SLO."""

from perch.load.result import LoadResult
from perch.load.runner import run

__all__ = ["LoadResult", "run"]
