"""Shares of groups and their gaps: estimates are plain ratios, and intervals cover the truth as often as they say."""

from functools import reduce
from operator import add

import numpy as np
import pytest

from perch.core.fairness import FACTS, MEASURES, NOBODY, Figure, Sums, everybody, figure, gap

GROUPS = 4


def sums(facts):
    """Of the facts of some users, shape (users, facts)."""
    rows, columns = np.triu_indices(len(FACTS))
    return Sums(len(facts), tuple(facts.sum(axis=0)), tuple((facts.T @ facts)[rows, columns]))


def market(rng, users, harm=0.0):
    """Facts of users, and their groups: users have tastes of their own, and come again; scores of group 0 are off."""
    group = rng.integers(GROUPS, size=users)
    user = np.repeat(np.arange(users), rng.geometric(0.05, users))
    logit = -2.5 + rng.normal(0, 0.8, users)[user] + rng.normal(0, 1, len(user))
    clicked = rng.random(len(user)) < 1 / (1 + np.exp(-logit))
    score = 1 / (1 + np.exp(-logit - harm * (group[user] == 0)))
    called = score >= np.quantile(score, 0.95)
    loss = -np.log(np.where(clicked, score, 1 - score))
    rows = np.stack([np.ones(len(user)), score, clicked, called, called & clicked, loss], axis=1)
    facts = np.zeros((users, len(FACTS)))
    np.add.at(facts, user, rows)
    return facts, group


def of(**facts):
    """One user with these facts."""
    return sums(np.array([[float(facts.get(name, 0)) for name in FACTS]]))


def test_estimates_are_the_ratios_of_the_sums_and_gaps_are_relative_to_all():
    facts, group = market(np.random.default_rng(0), 400)
    parts = [sums(facts[group == i]) for i in range(GROUPS)]
    whole = everybody(parts)
    assert whole.sums == pytest.approx(facts.sum(axis=0))
    for name, (over, under) in MEASURES.items():
        mine, all_ = (one.of(over) / one.of(under) for one in (parts[0], whole))
        assert figure(parts[0], name, 0.05).estimate == pytest.approx(mine)
        assert gap(parts[0], whole, name, 0.05).estimate == pytest.approx(mine / all_ - 1)


@pytest.mark.parametrize("users", [400, 2_000])
def test_the_intervals_of_gaps_cover_none_where_all_are_treated_alike(users):
    rng, error, worlds = np.random.default_rng(users), 0.01, 100
    missed = dict.fromkeys(MEASURES, 0)
    for _ in range(worlds):
        facts, group = market(rng, users)
        parts = [sums(facts[group == i]) for i in range(GROUPS)]
        for name in MEASURES:
            missed[name] += sum(gap(one, everybody(parts), name, error).proven > 0 for one in parts)
    assert max(missed.values()) <= 0.03 * worlds * GROUPS


def test_a_group_that_is_promised_too_much_is_proven_to_be():
    facts, group = market(np.random.default_rng(1), 4_000, harm=0.6)
    parts = [sums(facts[group == i]) for i in range(GROUPS)]
    found = [gap(one, everybody(parts), "calibration", 0.001) for one in parts]
    assert found[0].proven > 0.1
    assert found[0].low < found[0].estimate < found[0].high
    assert max(one.estimate for one in found[1:]) < 0


def test_one_user_who_comes_a_thousand_times_proves_nothing():
    often = of(requests=1_000, predicted=100, clicks=200)
    others = reduce(add, [of(requests=2, predicted=0.2, clicks=i % 5 == 0) for i in range(1_000)])
    assert gap(often, others + often, "calibration", 0.05).proven == 0.0
    many = reduce(add, [of(requests=1, predicted=0.1, clicks=i % 5 == 0) for i in range(1_000)])
    assert gap(many, others + many, "calibration", 0.05).proven > 0.0


def test_a_group_none_of_which_is_picked_is_seen_and_as_if_one_had_been():
    picked = reduce(add, [of(requests=10, clicks=1, called=i % 2, hits=i % 3 == 0) for i in range(600)])
    left_out = reduce(add, [of(requests=10, clicks=1) for _ in range(600)])
    found = gap(left_out, picked + left_out, "recall", 0.001)
    assert found.estimate == found.low == -1.0
    assert found.proven > 0.5
    few = reduce(add, [of(requests=10, clicks=1) for _ in range(5)])
    assert gap(few, picked + few, "recall", 0.001).proven == 0.0


def test_a_share_is_at_most_all():
    few = reduce(add, [of(requests=1, clicks=1, predicted=0.5) for _ in range(3)])
    assert figure(few, "recall", 0.001).high == 1.0


def test_what_has_nothing_to_divide_by_is_not_told():
    assert figure(NOBODY, "score", 0.05) is None
    assert gap(NOBODY, of(requests=1, predicted=0.1), "score", 0.05) is None
    assert gap(of(requests=1), of(requests=2), "score", 0.05) is None


@pytest.mark.parametrize(("low", "high", "proven"), [(-0.1, 0.3, 0.0), (0.2, 0.5, 0.2), (-0.5, -0.25, 0.25)])
def test_proven_is_the_end_that_is_nearer_to_none(low, high, proven):
    assert Figure((low + high) / 2, low, high).proven == proven
