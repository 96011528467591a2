"""How often a canary that is not worse than tolerated is convicted, and how soon one that is: over many rollouts."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from perch.core import Cause, Policy
from perch.core.evidence import Comparable, full_family
from perch.rehearsal.market import SLO, Behaviour, Traffic, always
from perch.rehearsal.rehearse import beginning, rehearse, stand_in

EVEN = Policy(shadow=False, start_weight=0.5, bake_s=1e6)
"""Both arms have half of the traffic, and nothing is promoted."""
AT_ONE_PERCENT = Policy(shadow=False, start_weight=0.01, max_weight=0.01, sample_ratio_alpha=1e-6)
"""So few requests are now and then none at all, which is another test's business."""
ROLLOUTS = 400


def ends(policy, traffic, seconds, rollouts=ROLLOUTS):
    states = [beginning(policy, SLO)] * rollouts
    return rehearse(states, policy, traffic, seed=1, limit_s=seconds)[1]


def convicted(policy, traffic, seconds):
    return sum(state.cause is Cause.HARM for state in ends(policy, traffic, seconds))


def four_per_cent_and(ratio):
    """The champion fails 4 % of the requests, the canary so many times as often."""
    return Traffic(50.0, stable=always(Behaviour(error_rate=0.04)), canary=always(Behaviour(error_rate=0.04 * ratio)))


def most_by_chance(alpha):
    """Convictions among `ROLLOUTS` with a probability of `alpha` each, and four standard deviations."""
    return ROLLOUTS * alpha + 4 * sqrt(ROLLOUTS * alpha * (1 - alpha))


@pytest.mark.parametrize(("tolerated", "alpha"), [(1.0, 0.1), (1.25, 0.1), (1.25, 0.01), (2.0, 0.1)])
def test_a_canary_that_fails_just_as_often_as_tolerated_is_convicted_in_at_most_alpha_of_rollouts(tolerated, alpha):
    policy = replace(EVEN, alpha=alpha, tolerated_ratio=tolerated)
    assert convicted(policy, four_per_cent_and(tolerated), 120) <= most_by_chance(alpha)


def test_a_canary_above_what_is_tolerated_is_convicted_in_most_rollouts():
    assert convicted(EVEN, four_per_cent_and(2.5), 120) >= 0.9 * ROLLOUTS


def test_constant_scores_are_found_in_ten_seconds_with_one_percent_of_the_traffic():
    states = ends(AT_ONE_PERCENT, Traffic(100.0, canary=always(Behaviour(score_scale=0.0))), 60, rollouts=100)
    assert {state.cause for state in states} == {Cause.HARM}
    assert np.mean([state.now_s - state.started_s for state in states]) <= 10


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_bets_on_one_bin_for_all_scores_convict_no_version_that_scores_as_predicted(share):
    """These bets alone, as if they were the whole mixture, over 200 ticks in which both arms score alike."""
    reference = stand_in(SLO)
    family, rng = full_family(reference, Policy()), np.random.default_rng(2)
    bins, alpha = len(reference.expected), 0.1
    wealth, ever = np.tile(family.start(1.0), (ROLLOUTS, 1)), np.zeros(ROLLOUTS, dtype=bool)
    whole = family.prior[-bins:].sum()
    for _ in range(200):
        canary, stable = (
            rng.multinomial(rng.poisson(100 * part, ROLLOUTS), [1 / bins] * bins) for part in (share, 1 - share)
        )
        wealth = family.bet(wealth, only_scores(canary, stable, events=int(family.about.max()) + 1))
        ever |= wealth[:, -bins:].sum(axis=1) >= whole / alpha
    assert ever.sum() <= most_by_chance(alpha)


def only_scores(canary, stable, events):
    """Counts of two arms, shape (rollouts, bins), in which nothing failed and nothing was slow."""
    nothing = np.zeros((len(canary), events - canary.shape[1]))
    hits, total = (np.concatenate((nothing, counts), axis=1) for counts in (canary, canary + stable))
    share = canary.sum(axis=1) / np.maximum(total.sum(axis=1), 1)
    return Comparable(hits, total, np.repeat(share[:, None], 3, axis=1))
