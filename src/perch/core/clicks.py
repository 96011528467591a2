"""Clicks alone: does the canary earn its share of them, where what it answers changes what is clicked?

A model that ranks or bids changes what is shown. Its predictions for what the other version showed have no outcome, so
pairing is biased. Clicks are left, as events of the split test (`perch.core.evidence`): given that a click arrives now,
for a request of a time at which the canary answered a share s of the requests, whose answer was it? If the canary earns
rho times the champion's clicks per request, it was the canary's with probability pi(rho) = s rho / (s rho + 1 - s). The
null is rho >= 1 - tolerated, the alternatives lie below it; the other way round it is disproved that the canary earns
less than it must. The share is the one **at request time**: a click tells of the split under which its request was
answered, however the weights have moved since.

**Why what has not come yet does not matter.** Of the n_c requests of a cohort in the canary, clicks come in the next
moment at the rate n_c p_c f(a), of the n_s in the stable arm at n_s p_s f(a), where f is the density of the delay at
the cohort's age a. Which arm a click is from goes by the ratio of the two: f(a) cancels if the delay is the same in
both arms, and requests whose clicks are still to come, or never come, appear nowhere.

**Why stopping is allowed in order of arrival**, which is not the order of requests. With Poisson arrivals and a random
split the clicks of each arm are Poisson processes with these rates, independent of their past. So each arriving click,
given all before it, is an independent coin that shows "canary" with probability pi(rho), and the evidence a test
supermartingale under the null at every arrival. With a fixed number of requests a click that has come cannot come
again, so the coin remembers, by the order of the click rate: after fewer of the canary's clicks than pi, more of its
requests are left that may still be clicked. That works against a bet on "too few" while it wins, and in its favour only
while it has lost more than it won. Exact enumeration (in the tests) says what is left of it: the best stopping rule
gains less than 1 % where every tenth request is clicked, and the probability of ever reaching 1/alpha stays below alpha
even where all are.

**Assumed**: one click for a request at most; users do not stick to an arm; the delay is the same in both arms, given a
click. A canary whose clicks come later looks, as long as they are due, as if it earned less.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log, log1p
from typing import Self

from perch.core.types import Cohort
from perch.core.wealth import grown, mean_wealth

_FEWER = (0.9, 0.8, 0.67, 0.5, 0.2)  # alternatives of harm, as parts of what must be earned
_AS_MANY = (1.0, 1.05, 1.2)  # alternatives of no harm, as parts of the champion's clicks


@dataclass(frozen=True, slots=True)
class Clicks:
    """Evidence from clicks."""

    harm: tuple[float, ...] = (0.0,) * len(_FEWER)
    """ln of the wealth of each bet on "earns less than it must"."""

    no_harm: tuple[float, ...] = (0.0,) * len(_AS_MANY)
    """ln of the wealth of each bet on "earns more than it must"."""

    @property
    def e_value(self) -> float:
        """Evidence that the canary earns fewer clicks per request than is tolerated; 1 means none."""
        return mean_wealth(self.harm)

    @property
    def cleared(self) -> float:
        """Evidence that it earns more than that; 1 means none."""
        return mean_wealth(self.no_harm)

    def after(self, cohorts: Sequence[Cohort], tolerated_loss: float) -> Self:
        """Evidence after the clicks of a tick; the canary may earn `tolerated_loss` (0 to below 1) of them less."""
        null = 1 - tolerated_loss
        return type(self)(
            grown(self.harm, (_increment(cohorts, null, null * part) for part in _FEWER)),
            grown(self.no_harm, (_increment(cohorts, null, part) for part in _AS_MANY)),
        )


def _increment(cohorts: Iterable[Cohort], null: float, alternative: float) -> float:
    """Log likelihood ratio of where the clicks fell; 0 for a cohort that one arm answered alone."""
    return sum(
        clicks.canary * log(alternative / null)
        - (clicks.canary + clicks.stable) * (log1p(clicks.share * (alternative - 1)) - log1p(clicks.share * (null - 1)))
        for clicks in cohorts
    )
