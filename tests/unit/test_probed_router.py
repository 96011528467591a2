"""When a probe says that a split happens, and when that it does not."""

from collections import Counter
from random import Random

import pytest

from perch.adapters.traffic.memory import MemoryRouter
from perch.adapters.traffic.probe import MOST_REQUESTS, NOBODY, ProbedRouter, probe
from perch.core.types import Arm, Weights
from perch.errors import PlatformError

ENDPOINTS = {Arm.STABLE: "ads-v1.shop:80", Arm.CANARY: "ads-v2.shop:80"}


def answering(shares, seed=0):
    """Answers as often as `shares` say."""
    random = Random(seed)
    return lambda n: Counter(random.choices(list(shares), list(shares.values()), k=n))


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05, 0.01])
def test_a_split_that_happens_is_proven(share):
    shares = {"1": 1 - share, "2": share}
    for seed in range(5):
        seen = probe(answering(shares, seed), shares)
        assert share / 2 < seen["2"] / seen.total() < 2 * share


@pytest.mark.parametrize(
    ("real", "at_most"),
    [({"1": 1.0}, 200), ({"2": 1.0}, 50), ({"1": 0.5, "2": 0.5}, 100), ({"1": 0.99, "2": 0.01}, 1_000)],
)
def test_another_split_is_refuted(real, at_most):
    asked = []

    def ask(n):
        asked.append(n)
        return answering(real)(n)

    with pytest.raises(PlatformError, match="Asked for was 90 % for version 1, 10 % for version 2; of"):
        probe(ask, {"1": 0.9, "2": 0.1})
    assert sum(asked) <= at_most


@pytest.mark.parametrize("stranger", [NOBODY, "3"])
def test_an_answer_by_anybody_else_refutes_the_split(stranger):
    with pytest.raises(PlatformError, match=f"of 50 requests answered 1 25, 2 24, {stranger} 1"):
        probe(lambda _: Counter({"1": 25, "2": 24, stranger: 1}), {"1": 0.5, "2": 0.5})


def test_a_share_too_small_to_tell_is_given_up():
    asked = []

    def ask(n):
        asked.append(n)
        return Counter({"1": n})

    with pytest.raises(PlatformError, match="cannot be told"):
        probe(ask, {"1": 0.9999, "2": 0.0001})
    assert sum(asked) == MOST_REQUESTS


def probed(inner, real=None):
    versions = {endpoint: str(version) for version, endpoint in enumerate(ENDPOINTS.values(), 1)}
    asked = []

    def ask(n):
        asked.append(n)
        return real(n) if real else Counter(versions[inner.endpoints[inner.send()[0]]] for _ in range(n))

    return ProbedRouter(inner, ask, versions.__getitem__, settling_s=0.0), asked


def test_a_split_that_does_not_happen_is_taken_back():
    inner = MemoryRouter()
    router, _ = probed(inner, real=answering({"1": 1.0}))
    router.route(ENDPOINTS, Weights())
    for _ in range(2):  # it is asked anew each time
        with pytest.raises(PlatformError, match="The split does not happen"):
            router.route(ENDPOINTS, Weights(stable=0.8, canary=0.2))
        assert inner.weights() == router.weights() == Weights()


def test_a_split_that_was_seen_once_is_trusted_from_then_on():
    router, asked = probed(MemoryRouter())
    router.route(ENDPOINTS, Weights(stable=0.5, canary=0.5))
    probed_with = sum(asked)
    assert probed_with > 0
    router.route(ENDPOINTS, Weights(stable=0.2, canary=0.8))
    assert sum(asked) == probed_with


def test_what_is_no_split_costs_no_request():
    router, asked = probed(MemoryRouter())
    router.route(ENDPOINTS, Weights())
    router.route(ENDPOINTS, Weights(mirror=0.5))
    router.route({**ENDPOINTS, Arm.BASELINE: ENDPOINTS[Arm.STABLE]}, Weights(baseline=0.1, stable=0.9))
    assert asked == []
