"""Every piece of evidence is a fair bet at best: from any past, one more step under the null gains nothing on average.

The mean is exact, over all that the step can bring. So stopping when it looks best gains nothing either.
"""

from math import log1p

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from perch.core import Policy, Slo, reference
from perch.core.clicks import Clicks
from perch.core.events import Tally, event_count
from perch.core.evidence import blaming, comparable, core_family
from perch.core.judge import Judge
from perch.core.paired import POINTS, Paired, spread
from perch.core.pods import Pods
from perch.core.types import Cohort, Counts, Grid, Judgement

SLO = Slo(latency_p99_ms=10.0)
GRID = Grid(latency_ms=(10.0,), score_logit=(0.0,))
REFERENCE = reference(Counts(100, 0, (99, 1), (50, 50)), GRID, SLO, None)
POLICY = Policy()
FAMILY = core_family(REFERENCE, POLICY)
ROUNDING = 1e-9

deltas = st.floats(0.0, 0.5)
losses = st.lists(st.floats(-4.0, 4.0), max_size=20)
shares = st.floats(0.01, 0.99)
cohorts = st.builds(Cohort, shares, st.integers(0, 40), st.integers(0, 40))
pasts = st.lists(cohorts, max_size=6)


@given(losses, deltas)
@settings(deadline=None)
def test_counting_on_points_never_makes_more_of_the_differences_than_they_are(differences, delta):
    evidence = Paired().after(spread(differences), delta)
    for part, harm, no_harm in zip(
        (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.95), evidence.harm, evidence.no_harm, strict=True
    ):
        edges = [part / (3 + delta) * (min(max(d, -3.0), 3.0) - delta) for d in differences]
        assert harm <= sum(map(log1p, edges)) + ROUNDING
        assert no_harm <= sum(log1p(-edge) for edge in edges) + ROUNDING


@given(losses, st.lists(st.tuples(st.floats(-3.0, 3.0), st.integers(1, 9)), min_size=1, max_size=5), deltas)
@settings(deadline=None)
def test_one_more_pair_gains_nothing_if_its_mean_is_within_the_null(past, law, delta):
    weights = np.array([weight for _, weight in law]) / sum(weight for _, weight in law)
    mean = float(np.dot([d for d, _ in law], weights))
    before = Paired().after(spread(past), delta)
    steps = [before.after(spread([d]), delta) for d, _ in law]
    if mean <= delta:
        assert np.dot(weights, [step.e_value for step in steps]) <= before.e_value * (1 + ROUNDING)
    if mean >= delta:
        assert np.dot(weights, [step.cleared for step in steps]) <= before.cleared * (1 + ROUNDING)


@given(losses, st.integers(0, len(POINTS) - 2), deltas)
@settings(deadline=None)
def test_a_worse_pair_never_makes_the_canary_look_better(past, point, delta):
    before = Paired().after(spread(past), delta)
    better, worse = (before.after(spread([POINTS[i]]), delta) for i in (point, point + 1))
    assert worse.e_value >= better.e_value
    assert worse.cleared <= better.cleared


@given(pasts, shares, st.floats(0.2, 3.0), st.floats(0.0, 0.5))
@settings(deadline=None)
def test_one_more_click_gains_nothing_whichever_cohort_it_is_of(past, share, ratio, tolerated):
    before = Clicks().after(past, tolerated)
    of_canary = share * ratio / (share * ratio + 1 - share)
    canary, stable = (before.after((Cohort(share, x, 1 - x),), tolerated) for x in (1, 0))
    if ratio >= 1 - tolerated:
        mean = of_canary * canary.e_value + (1 - of_canary) * stable.e_value
        assert mean <= before.e_value * (1 + ROUNDING)
    if ratio <= 1 - tolerated:
        mean = of_canary * canary.cleared + (1 - of_canary) * stable.cleared
        assert mean <= before.cleared * (1 + ROUNDING)


@given(pasts, shares, st.floats(0.0, 0.5))
@settings(deadline=None)
def test_a_click_never_counts_against_its_own_arm(past, share, tolerated):
    before = Clicks().after(past, tolerated)
    canary, stable = (before.after((Cohort(share, x, 1 - x),), tolerated) for x in (1, 0))
    assert canary.e_value <= before.e_value * (1 + ROUNDING)
    assert stable.e_value >= before.e_value * (1 - ROUNDING)
    assert canary.cleared >= before.cleared * (1 - ROUNDING)


@given(st.lists(st.floats(0.0, 1.0), max_size=8), st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(deadline=None)
def test_one_more_window_gains_nothing_if_its_p_value_is_valid(past, masses):
    """Any judge with a few verdicts: the p-value of each is the probability of it or a stronger one."""
    before = Judge().after(map(Judgement, past))
    law = np.array(masses) / sum(masses)
    verdicts = map(Judgement, np.minimum(np.cumsum(law), 1.0).tolist())
    mean = sum(p * before.after([verdict]).e_value for p, verdict in zip(law, verdicts, strict=True))
    assert mean <= before.e_value


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_a_stronger_verdict_never_lowers_the_judges_evidence(past, p_value):
    before = Judge().after(map(Judgement, past))
    assert before.after([Judgement(p_value / 2)]).e_value >= before.after([Judgement(p_value)]).e_value


@given(losses, pasts, st.lists(st.floats(0.0, 1.0), max_size=8), st.randoms())
@settings(deadline=None)
def test_the_order_in_which_evidence_comes_does_not_matter(differences, clicks, p_values, random):
    def ends(start, items, step):
        for item in items:
            start = step(start, item)
        return start

    def same(start, items, step):
        one, other = (ends(start, order, step) for order in (items, random.sample(items, len(items))))
        np.testing.assert_allclose(other.e_value, one.e_value, rtol=1e-9)

    same(Paired(), differences, lambda evidence, d: evidence.after(spread([d]), 0.01))
    same(Clicks(), clicks, lambda evidence, cohort: evidence.after((cohort,), 0.05))
    same(Judge(), p_values, lambda evidence, p: evidence.after([Judgement(p)]))


# The split test itself, between two arms and between pods.


@st.composite
def tallies(draw, least=1):
    """What an arm or a pod counted: finished, failed and slow requests."""
    finished = draw(st.integers(least, 60))
    failed = draw(st.integers(0, min(finished, 6)))
    return counted(finished, failed, draw(st.integers(0, min(finished - failed, 6))))


def counted(finished, failed, slow):
    hits = [failed] + [0] * (event_count(REFERENCE) - 1)
    hits[REFERENCE.slo_event] = slow
    return Tally(finished, finished - failed, 0, tuple(hits))


def worse(tally):
    """The same with one fast answer turned into a slow one."""
    return counted(tally.finished, tally.failed, tally.hits[REFERENCE.slo_event] + 1)


ticks = st.lists(st.tuples(tallies(), tallies()), max_size=6)


def weighed(history):
    wealth = FAMILY.start(1.0)
    for canary, stable in history:
        wealth = FAMILY.bet(wealth, comparable(canary, stable))
    return wealth


@given(ticks, st.integers(1, 30), st.integers(1, 30), st.integers(0, 8), st.floats(0.1, 1.25))
@settings(deadline=None)
def test_one_more_tick_of_a_canary_within_the_tolerance_gains_nothing(past, n_canary, n_stable, events, ratio):
    """Given how many failed in both arms, each is the canary's with the probability that the null allows at most."""
    assume(events <= min(n_canary, n_stable))
    before, share = weighed(past), n_canary / (n_canary + n_stable)
    of_canary = share * ratio / (share * ratio + 1 - share)
    law = np.array([1.0])
    for _ in range(events):
        law = np.convolve(law, [1 - of_canary, of_canary])
    after = [
        blaming(FAMILY.bet(before, comparable(counted(n_canary, x, 0), counted(n_stable, events - x, 0))))
        for x in range(events + 1)
    ]
    assert np.dot(law, after) <= blaming(before) * (1 + ROUNDING)


@given(ticks, st.randoms())
@settings(deadline=None)
def test_the_order_of_ticks_does_not_matter(history, random):
    shuffled = random.sample(history, len(history))
    np.testing.assert_allclose(blaming(weighed(shuffled)), blaming(weighed(history)), rtol=1e-9)


@given(ticks, tallies(), tallies())
@settings(deadline=None)
def test_one_more_slow_answer_never_makes_the_canary_look_better(past, canary, stable):
    assume(canary.answered > canary.hits[REFERENCE.slo_event])
    before = weighed(past)
    less, more = (blaming(FAMILY.bet(before, comparable(suspect, stable))) for suspect in (canary, worse(canary)))
    assert more >= less * (1 - ROUNDING)


fleets = st.lists(st.tuples(*[tallies(least=4)] * 3), min_size=1, max_size=5)


def watched(history):
    pods = Pods()
    for arm in history:
        pods = pods.after(dict(zip("abc", arm, strict=True)), counted(100, 1, 1), REFERENCE, POLICY)
    return pods


@given(fleets, st.data())
@settings(deadline=None)
def test_one_more_slow_answer_never_makes_its_pod_look_better_nor_another_one_worse(history, data):
    tick, pod = data.draw(st.integers(0, len(history) - 1)), data.draw(st.integers(0, 2))
    assume(history[tick][pod].answered > history[tick][pod].hits[REFERENCE.slo_event])
    arm = tuple(worse(tally) if i == pod else tally for i, tally in enumerate(history[tick]))
    before, after = watched(history), watched([*history[:tick], arm, *history[tick + 1 :]])
    for i, name in enumerate("abc"):
        sign = 1 if i == pod else -1
        assert sign * (after.known[name].e_value - before.known[name].e_value) >= -ROUNDING * before.known[name].e_value


@given(fleets, st.integers(1, 6))
@settings(deadline=None)
def test_one_more_batch_of_equal_pods_gains_nothing_for_any_of_them(history, events):
    """Failures fall on three pods with equal shares by a fair three-sided coin."""
    before = watched(history)
    law, means = {(0, 0, 0): 1.0}, dict.fromkeys("abc", 0.0)
    for _ in range(events):
        law = _one_more(law)
    for falls, probability in law.items():
        after = watched([*history, tuple(counted(20, failed, 0) for failed in falls)])
        for name in means:
            means[name] += probability * after.known[name].e_value
    assert all(mean <= before.known[name].e_value * (1 + ROUNDING) for name, mean in means.items())


def _one_more(law):
    after = {}
    for falls, probability in law.items():
        for pod in range(3):
            fallen = tuple(n + (i == pod) for i, n in enumerate(falls))
            after[fallen] = after.get(fallen, 0.0) + probability / 3
    return after
