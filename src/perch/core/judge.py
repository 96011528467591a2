"""A judge from outside, such as the drift of inputs (canary against champion) that a monitoring tool computes.

It closes windows and gives a p-value for each. For 0 < kappa < 1 the function kappa p^(kappa - 1) falls and its
integral over [0, 1] is 1, so if P(p <= u | past) <= u for every u, its expectation given the past is at most 1. The
product over windows is a test supermartingale, and so is the mean over kappa. (Vovk and Wang, arXiv 1912.06116.) A
p-value below 1e-6 counts as 1e-6, which only lowers it: one window is worth at most a factor of 142, and with the tenth
of the mixture that the judge gets no window convicts alone; two may.

**How its false alarms are bounded.** The judge convicts by itself, with its part of `Policy.alpha`: see
`perch.core.sources`. By Ville's inequality it is wrong with a probability of at most that part, however many windows
are closed; and by the union bound all sources together with at most alpha, whatever the counters of the same requests,
which were weighed before, foretell of the verdict.

**What breaks it**: windows that overlap, for the same requests are then counted twice; a threshold, a bin or a column
chosen by looking at the data that are tested; a p-value of "the canary scores as the champion does", where the new
model is meant to score differently; a score (a distance, a share of drifted columns) instead of a p-value. A judge that
only says "drift" or "no drift", with a known rate a of false alarms, enters as p = a or p = 1: both are valid p-values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Self

from perch.core.types import Judgement
from perch.core.wealth import grown, mean_wealth
from perch.errors import RolloutError

_KAPPAS = (0.5, 0.6, 0.7, 0.8, 0.9)
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Judge:
    """Evidence from p-values."""

    log_wealth: tuple[float, ...] = (0.0,) * len(_KAPPAS)
    """ln of the wealth of each kappa."""

    worst: Judgement | None = None
    """Of the window that tells most; `None` before the first one."""

    @property
    def e_value(self) -> float:
        """Evidence that the judge's null is wrong; 1 means none."""
        return mean_wealth(self.log_wealth)

    def after(self, judgements: Iterable[Judgement]) -> Self:
        """Evidence after further windows.

        Raises:
            RolloutError: a number that is no p-value.
        """
        wealth, worst = self.log_wealth, self.worst
        for judgement in judgements:
            p_value = judgement.p_value
            if not 0 <= p_value <= 1:
                raise RolloutError(
                    f"The external judge gave {p_value:g}; a p-value lies between 0 and 1. Does it report a score? "
                    "Then let it report p-values, or switch it off in the policy."
                )
            log_p = log(max(p_value, _LEAST))
            wealth = grown(wealth, (log(kappa) + (kappa - 1) * log_p for kappa in _KAPPAS))
            worst = judgement if worst is None or p_value < worst.p_value else worst
        return type(self)(wealth, worst)
