"""The sample-ratio test: does the canary answer the share of the requests that it was given?

A canary that says nothing is not healthy. Under the null a request that comes to an end does so in the canary with
the share s0 that the weights in force give it. Against ratios rho of the odds the likelihood ratio is a martingale,
and so is their average, also over the moment at which the split went wrong: half of the mass bets from the start, and
0.1 % of what is left is put to work in every tick. It reaches 1/alpha with a probability of at most alpha at any time
(Ville). Ticks that overlap a change of weights are left out: a rule on time, not on outcomes, so the bound holds.
Mirrored requests are split more evenly than coins would; the binomial dominates them in convex order.

**Assumed**: the router tosses an independent coin for each request. The alternatives leave a gap around 1, in which
small differences in routing or in the time of the scrape do not add up to evidence.
"""

from dataclasses import dataclass
from math import log

import numpy as np

from perch.core.evidence import merged

_RATIOS = np.array((0.01, 0.1, 0.33, 0.67, 1.5, 3.0, 10.0))
_START_MASS = 0.5
_MASS_PER_TICK = 0.001
_SILENT = 0.1


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Evidence against the split, and what it rests on."""

    log_wealth: tuple[float, ...] = (log(_START_MASS / len(_RATIOS)),) * len(_RATIOS)

    idle: float = 1 - _START_MASS
    """Mass that is not at work yet."""

    canary: int = 0
    """Requests that ended in the canary since there is evidence."""

    expected: float = 0.0
    """Requests that should have ended there."""

    @property
    def e_value(self) -> float:
        """Evidence that the canary gets another share than it was given; 1 means none."""
        return merged(self.log_wealth, self.idle)

    @property
    def ratio(self) -> float:
        """The ratio of the canary's odds to those it was given that the evidence favours."""
        return float(_RATIOS[np.argmax(self.log_wealth)])

    @property
    def canary_is_silent(self) -> bool:
        """Whether the canary answers about a tenth of its share, or less."""
        return self.ratio <= _SILENT

    @property
    def stable_is_silent(self) -> bool:
        """Whether the stable arm answers about a tenth of its share, or less."""
        return self.ratio >= 1 / _SILENT

    def after(self, canary: int, stable: int, share: float) -> "SampleRatio":
        """Evidence after a tick in which the canary was given `share` (above 0, below 1) of both arms' requests."""
        mass = _MASS_PER_TICK * self.idle
        at_work = np.logaddexp(self.log_wealth, log(mass / len(_RATIOS)))
        ending_in_canary = share * _RATIOS / (share * _RATIOS + 1 - share)
        increments = canary * np.log(ending_in_canary / share) + stable * np.log((1 - ending_in_canary) / (1 - share))
        # Without evidence the counts start over, so that they tell of the time since the split went wrong.
        carried = self if self.e_value > 1 else SampleRatio()
        return SampleRatio(
            log_wealth=tuple((at_work + increments).tolist()),
            idle=self.idle - mass,
            canary=carried.canary + canary,
            expected=carried.expected + share * (canary + stable),
        )
