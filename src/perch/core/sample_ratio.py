"""The sample-ratio test: does the canary answer the share of the requests that it was given?

A canary that says nothing is not healthy. Under the null a request that comes to an end does so in the canary with
the share s0 that the weights in force give it. Against ratios rho of the odds the likelihood ratio is a martingale,
and so is their average, also over the moment at which the split went wrong: most of the mass bets from the start,
and 0.1 % of what is left is put to work in every tick. It ever reaches 1/alpha with a probability of at most alpha
(Ville). Ticks that overlap a change of weights are left out: a rule on time, not on outcomes, so the bound holds.
Mirrored requests are split more evenly than coins would; the binomial dominates them in convex order.

A process that stops for a second answers a tick later: no request is lost. So the increment is cut at 4 nats a second,
and no two seconds alone convict. And wealth is cut at 30 nats, so that a fault that is put up with for an hour does
not hide the next one. What is cut from above stays a supermartingale.

**Assumed**: the router tosses an independent coin for each request. The alternatives leave a gap around 1, in which
small differences in routing or in the time of the scrape do not add up to evidence.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from typing import NamedTuple

RATIOS = (0.01, 0.1, 0.33, 0.67, 1.5, 3.0, 10.0)
START_MASS = 0.9
MASS_PER_TICK = 0.001
PRIOR = (0.6, *(0.4 / 6,) * 6)  # most of it on silence, which is the commonest fault
LARGEST_INCREMENT_PER_S = 4.0
LARGEST_WEALTH = exp(30.0)
_SILENT = 0.2
_START = tuple(START_MASS * part for part in PRIOR)


@lru_cache(maxsize=256)
def _bets(share: float) -> tuple[tuple[float, float, float], ...]:
    """Of each ratio: its prior, and what a request that ends in the canary, or in the stable arm, adds to ln of its
    wealth, where the canary should get `share` of the requests.
    """
    ends_in_canary = [share * rho / (share * rho + 1 - share) for rho in RATIOS]
    return tuple(
        (prior, log(part / share), log((1 - part) / (1 - share)))
        for prior, part in zip(PRIOR, ends_in_canary, strict=True)
    )


class SampleRatio(NamedTuple):
    """Evidence against the split, and what it rests on."""

    wealth: tuple[float, ...] = _START
    """Of the bet on each ratio."""

    idle: float = 1 - START_MASS
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
        return sum(self.wealth) + self.idle

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
        return _says_too_few(self.wealth)

    def after(self, canary: int, stable: int, share: float, elapsed_s: float = 1.0) -> "SampleRatio":
        """Evidence after `elapsed_s` in which the canary was given `share` (above 0, below 1) of all requests."""
        mass = MASS_PER_TICK * self.idle
        most = LARGEST_INCREMENT_PER_S * elapsed_s
        wealth = tuple(
            [
                min((old + mass * part) * exp(min(canary * in_canary + stable * in_stable, most)), LARGEST_WEALTH)
                for old, (part, in_canary, in_stable) in zip(self.wealth, _bets(share), strict=True)
            ]
        )
        # Without evidence, or when it turns round, the counts start over: they tell of the time of this one fault.
        goes_on = self.e_value > 1 and self.too_few == _says_too_few(wealth)
        carried = self if goes_on else SampleRatio()
        return SampleRatio(
            wealth,
            self.idle - mass,
            canary=carried.canary + canary,
            stable=carried.stable + stable,
            expected=carried.expected + share * (canary + stable),
        )


def _says_too_few(wealth: Sequence[float]) -> bool:
    return RATIOS[wealth.index(max(wealth))] < 1
