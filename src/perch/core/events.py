"""Events: things that happened to one request, counted per arm. All evidence is about which arm they happened in.

An event knows among how many requests it could have happened (its exposure): a failure among all that came to an end, a
slow answer and a score among those that were answered, so a failed request is not also slow. Requests count when they
end, not when they begin: an arm that swallows its requests has no exposure, and so earns no trust.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perch.core.reference import Reference
from perch.core.types import Counts

Floats = NDArray[np.float64]

FAILED = 0
"""Position of the failures among the events."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of one arm by event: failed, slower than each latency edge, score in each bin."""

    hits: Floats
    """How often each event happened, shape (events,)."""

    exposed: Floats
    """Among how many requests it could have happened, shape (events,)."""


def tally(counts: Counts, reference: Reference) -> Tally:
    """Count the events of `reference` in one arm's counts."""
    answered, scored = counts.answered, sum(counts.scores)
    slow = [sum(counts.latency[edge + 1 :]) for edge in reference.latency_edges]
    scores = [sum(counts.scores[start:stop]) for start, stop in reference.score_ranges()]
    exposed = [counts.failed + answered, *[answered] * len(slow), *[scored] * len(scores)]
    return Tally(np.array([counts.failed, *slow, *scores], dtype=float), np.array(exposed, dtype=float))


def slo_event(reference: Reference) -> int:
    """Position among the events of being slower than the SLO allows."""
    return 1 + reference.latency_edges.index(reference.slo_edge)


def bad(counts: Counts, reference: Reference) -> int:
    """Requests that failed or were slower than the SLO allows."""
    return counts.failed + slow(counts, reference)


def slow(counts: Counts, reference: Reference) -> int:
    """Answered requests that were slower than the SLO allows."""
    return sum(counts.latency[reference.slo_edge + 1 :])
