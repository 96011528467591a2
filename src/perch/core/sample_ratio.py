"""The sample-ratio test: does the canary answer the share of the requests that it was given?

A canary that says nothing is not healthy. Under the null a request that comes to an end does so in the canary with
the share s0 that the weights in force give it. Against ratios rho of the odds the likelihood ratio is a martingale,
and so is their average, also over the moment at which the split went wrong: half of the mass bets from the start, and
0.1 % of what is left is put to work in every tick. It reaches 1/alpha with a probability of at most alpha at any time
(Ville). Ticks that overlap a change of weights are left out: a rule on time, not on outcomes, so the bound holds.
Mirrored requests are split more evenly than coins would; the binomial dominates them in convex order.

A process that stops for a second answers a tick later: no request is lost. So the increment is cut at 4 nats a second,
and no two seconds alone convict. And wealth is cut at 30 nats, so that a fault that is put up with for an hour does
not hide the next one. What is cut from above stays a supermartingale.

**Assumed**: the router tosses an independent coin for each request. The alternatives leave a gap around 1, in which
small differences in routing or in the time of the scrape do not add up to evidence.
"""

from dataclasses import dataclass, replace
from math import log

import numpy as np

from perch.core.evidence import merged

_RATIOS = np.array((0.01, 0.1, 0.33, 0.67, 1.5, 3.0, 10.0))
_START_MASS = 0.5
_MASS_PER_TICK = 0.001
_SILENT = 0.2
_LARGEST_INCREMENT_PER_S = 4.0
_LARGEST_LOG_WEALTH = 30.0


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

    stable: int = 0
    """Requests that ended in the stable arm meanwhile."""

    @property
    def e_value(self) -> float:
        """Evidence that the canary gets another share than it was given; 1 means none."""
        return merged(self.log_wealth, self.idle)

    @property
    def canary_is_silent(self) -> bool:
        """Whether the canary answers less than a fifth of its share."""
        return self.canary < _SILENT * self.expected

    @property
    def stable_is_silent(self) -> bool:
        """Whether the stable arm answers less than a fifth of its share."""
        return self.stable < _SILENT * (self.canary + self.stable - self.expected)

    @property
    def too_few(self) -> bool:
        """Whether the evidence says that the canary gets too few requests, rather than too many."""
        return bool(_RATIOS[np.argmax(self.log_wealth)] < 1)

    def after(self, canary: int, stable: int, share: float, elapsed_s: float = 1.0) -> "SampleRatio":
        """Evidence after `elapsed_s` in which the canary was given `share` (above 0, below 1) of all requests."""
        mass = _MASS_PER_TICK * self.idle
        at_work = np.logaddexp(self.log_wealth, log(mass / len(_RATIOS)))
        ending_in_canary = share * _RATIOS / (share * _RATIOS + 1 - share)
        increments = canary * np.log(ending_in_canary / share) + stable * np.log((1 - ending_in_canary) / (1 - share))
        cut = np.minimum(increments, _LARGEST_INCREMENT_PER_S * elapsed_s)
        wealth = np.minimum(at_work + cut, _LARGEST_LOG_WEALTH)
        after = replace(self, log_wealth=tuple(wealth.tolist()), idle=self.idle - mass)
        # Without evidence, or when it turns round, the counts start over: they tell of the time of this one fault.
        carried = self if self.e_value > 1 and self.too_few == after.too_few else SampleRatio()
        return replace(
            after,
            canary=carried.canary + canary,
            stable=carried.stable + stable,
            expected=carried.expected + share * (canary + stable),
        )
