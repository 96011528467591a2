"""What a version predicted, and what came of it, for requests whose labels are final.

Only what is older than the attribution window is summed: a younger request may be clicked yet, and would count as one
that was not. Copies are left out, for nobody saw their answers; so are the requests of other versions. What is older
than two windows is forgotten, so who asks less often misses some, and the sums of the rest are as true.
"""

from dataclasses import dataclass

from perch.core.decay import Matured

STEP_S = 120.0
"""An answer sums at most so much time, so that who was away for long catches up in steps of which none takes long."""


@dataclass(frozen=True, slots=True)
class MaturedSince:
    """What became final since somebody asked."""

    matured: Matured
    until_s: float
    """Time of the last request that is counted, in seconds since the epoch: to ask with the next time."""
