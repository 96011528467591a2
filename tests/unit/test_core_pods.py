import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.codec import dumps, loads
from perch.core.events import tally
from perch.core.pods import Pods
from perch.core.types import Counts, Grid

SLO = Slo(latency_p99_ms=10.0)
GRID = Grid(latency_ms=(1.0, 5.0, 10.0, 20.0), score_logit=(0.0,))
REFERENCE = reference(Counts(10_000, 0, (5_000, 3_000, 1_900, 100, 0), (5_000, 5_000)), GRID, SLO, None)
POLICY = Policy()
GOOD, BAD = (0.001, 0.01), (0.2, 0.01)  # failed, slow


def counted(finished, failed=0, slow=0):
    fast = finished - failed - slow
    return tally(Counts(finished, failed, (fast, 0, 0, slow, 0), (finished - failed, 0)), REFERENCE)


def served(rng, requests, rates):
    failed = int(rng.binomial(requests, rates[0]))
    return counted(requests, failed, int(rng.binomial(requests - failed, rates[1])))


def after(pods, counts, other=None):
    return pods.after(counts, other or counted(100), REFERENCE, POLICY)


def run(rng, pod_rates, *, other=GOOD, ticks=60, requests=50):
    """Yield the evidence after each tick of an arm with these pods, beside another arm."""
    pods, n = Pods(), len(pod_rates)
    for _ in range(ticks):
        split = rng.multinomial(requests, [1 / n] * n)
        counts = {
            f"pod-{i}": served(rng, int(k), rates) for i, (k, rates) in enumerate(zip(split, pod_rates, strict=True))
        }
        pods = after(pods, counts, served(rng, requests, other))
        yield pods


def culprits(states):
    return {state.culprit(POLICY) for state in states} - {None}


def test_the_one_bad_pod_of_five_is_named():
    for seed in range(10):
        states = list(run(np.random.default_rng(seed), [GOOD, GOOD, BAD, GOOD, GOOD]))
        assert culprits(states) == {"pod-2"}
        assert states[-1].suspect(REFERENCE, POLICY) == "pod-2"


def test_a_verdict_needs_the_evidence_that_the_pods_part_of_the_error_probability_asks_for():
    third = 5 / (7 * 8)
    for seed in range(20):
        states = list(run(np.random.default_rng(seed), [GOOD, GOOD, BAD], requests=15))
        first = next(
            i
            for i, state in enumerate(states)
            if state.known and state.known["pod-2"].e_value >= 1 / (third * POLICY.pod_alpha)
        )
        assert [state.culprit(POLICY) for state in states[: first + 1]] == [None] * first + ["pod-2"]


def test_a_pod_that_is_only_slow_is_named_too():
    states = run(np.random.default_rng(1), [GOOD, (0.001, 0.3), GOOD])
    assert culprits(states) == {"pod-1"}


def test_of_a_bad_version_no_pod_is_to_blame():
    for seed in range(10):
        last = list(run(np.random.default_rng(seed), [(0.1, 0.01)] * 5))[-1]
        assert last.culprit(POLICY) is None
        assert last.suspect(REFERENCE, POLICY) is None


def test_a_bad_pod_of_a_bad_version_does_not_excuse_it():
    *_, last = run(np.random.default_rng(2), [(0.05, 0.01)] * 4 + [(0.5, 0.01)], ticks=120)
    worst = last.known["pod-4"]
    assert worst.e_value * worst.share * POLICY.pod_alpha > 1
    assert not worst.rest_is_sound
    assert last.culprit(POLICY) is None


def test_good_pods_are_never_named_in_many_minutes():
    seen = set()
    for seed in range(4):
        seen |= culprits(run(np.random.default_rng(seed), [(0.02, 0.02)] * 5, other=(0.02, 0.02), ticks=600))
    assert seen == set()


def test_a_suspect_shows_before_the_verdict_also_in_counts_that_still_wait():
    healthy, healthy_few = ({f"pod-{i}": counted(n) for i in range(5)} for n in (20, 3))
    pods = after(Pods(), healthy)
    pods = after(pods, healthy_few | {"pod-3": counted(3, failed=3)})
    assert pods.waiting
    assert pods.suspect(REFERENCE, POLICY) == "pod-3"
    assert pods.culprit(POLICY) is None


@pytest.mark.parametrize("waits", ["pod-3", "pod-0"])
def test_a_single_response_that_waits_lifts_no_suspicion(waits):
    pods = after(Pods(), {f"pod-{i}": counted(20, failed=3 if i == 3 else 0) for i in range(5)})
    assert pods.suspect(REFERENCE, POLICY) == "pod-3"
    pods = after(pods, {waits: counted(1)})
    assert pods.suspect(REFERENCE, POLICY) == "pod-3"


def test_a_batch_waits_for_four_requests_a_pod_however_they_end():
    for failed in (0, 2):
        pods = after(Pods(), {"a": counted(2, failed), "b": counted(5)})
        assert (pods.known, pods.other) == ({}, counted(100))
        pods = after(pods, {"a": counted(1)})
        assert set(pods.known) == {"a", "b"}
        assert (pods.waiting, pods.other) == ({}, None)


def test_how_counts_are_cut_into_ticks_within_a_batch_does_not_matter():
    at_once = after(Pods(), {"a": counted(10, 3), "b": counted(10)}, counted(40))
    in_turn = after(Pods(), {"a": counted(2, 1), "b": counted(1)}, counted(15))
    assert after(in_turn, {"b": counted(9), "a": counted(8, 2)}, counted(25)) == at_once


def test_a_tick_without_pods_says_nothing():
    assert after(Pods(), {}) == Pods()
    assert Pods().suspect(REFERENCE, POLICY) is None
    assert Pods().culprit(POLICY) is None


def test_a_pod_alone_in_its_arm_is_not_told_from_its_version():
    pods = after(Pods(), {"only": counted(50, failed=50)})
    assert pods.known["only"].e_value == pytest.approx(1)
    assert pods.suspect(REFERENCE, POLICY) is None


def test_a_new_pod_begins_without_evidence_and_a_missing_one_keeps_it():
    pods = after(Pods(), {"old": counted(20, 3), "bad": counted(20, 15)})
    before = pods.known["bad"].e_value
    pods = after(pods, {"old": counted(20), "new": counted(20)})
    assert pods.known["bad"].e_value == before
    assert pods.known["new"].e_value == pytest.approx(1)
    assert not pods.known["bad"].in_service
    assert (pods.seen, pods.known["new"].share) == (3, pytest.approx(5 / (7 * 8)))


def test_a_pod_that_is_out_of_service_is_neither_taken_out_nor_waited_for():
    *_, pods = run(np.random.default_rng(3), [GOOD, BAD, GOOD])
    assert pods.culprit(POLICY) == "pod-1"
    pods = after(pods, {"pod-0": counted(20), "pod-1": counted(0), "pod-2": counted(20)})
    assert pods.culprit(POLICY) is None
    assert pods.suspect(REFERENCE, POLICY) is None


def test_a_pod_is_taken_out_once_and_the_others_start_over():
    """What they were compared with holds its failures, and of one that goes on nothing more is to be said."""
    *_, pods = run(np.random.default_rng(3), [GOOD, BAD, GOOD])
    pods = pods.without("pod-1", now_s=60.0)
    assert (pods.known, pods.ejected, pods.seen) == ({}, {"pod-1": 60.0}, 3)
    for _ in range(20):
        pods = after(pods, {"pod-0": counted(20), "pod-1": counted(20, 10), "pod-2": counted(20)})
        assert set(pods.known) == {"pod-0", "pod-2"}
        assert pods.culprit(POLICY) is None
    assert pods.known["pod-0"].share == pytest.approx(5 / (8 * 9))


def test_at_most_fifty_pods_are_known_and_those_in_service_come_first():
    def fleet(first, last):
        return {f"pod-{i:03}": counted(5) for i in range(first, last)}

    pods = after(Pods(), fleet(0, 60))
    assert list(pods.known) == list(fleet(0, 50))
    pods = after(pods, fleet(30, 90))
    assert list(pods.known) == list(fleet(30, 80))
    assert pods.seen == 80


def test_the_shares_of_all_pods_that_ever_come_add_up_to_no_more_than_the_whole():
    pods, shares = Pods(), {}
    for i in range(120):
        pods = after(pods, {f"pod-{i}": counted(5), f"pod-{i + 1}": counted(5)})
        shares |= {name: pod.share for name, pod in pods.known.items()}
    assert len(shares) == 121
    assert 0.95 < sum(shares.values()) < 1


def test_the_other_arm_convicts_the_rest_but_not_the_pods():
    """All fail alike, far more than the other arm: the rest of each is in doubt."""
    pods = after(Pods(), {name: counted(50, 10) for name in "abc"}, counted(150))
    assert all(pod.e_value < 1 for pod in pods.known.values())
    assert not any(pod.rest_is_sound for pod in pods.known.values())


def test_pods_survive_the_record():
    for pods in run(np.random.default_rng(4), [GOOD, BAD, GOOD], ticks=3, requests=7):
        assert loads(Pods, dumps(pods)) == pods
