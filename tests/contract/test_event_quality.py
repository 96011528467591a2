"""Live figures of a model's quality: each request once, when its label is final; before that an estimate, named so."""

import re

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.metrics import log_loss, precision_score, recall_score, roc_auc_score

from perch.adapters.events.store import EventStore
from perch.collector.page import render
from perch.signals.events import Outcome, Prediction
from perch.signals.quality import EDGES, ESTIMATED, MATURED, Sums, area_under_curve, sums_by_bin

WINDOW_S = 1_000.0
BEGIN_S = 50_000.0


@pytest.fixture
def store(place):
    """A store whose clock is set by the test: `store.now_s`."""
    with EventStore(place, WINDOW_S, lambda: store.now_s) as store:
        store.now_s = BEGIN_S
        yield store


def tidy(store, now_s):
    store.now_s = now_s
    while store.tidy():
        pass


def predicted(i, score, *, time_s=BEGIN_S, arm="stable", version="1", slices=None):
    return Prediction(f"r{i}", "ads", version, arm, time_s, score, 8, 0, slices=slices)


def market(store, requests=3_000, seed=0):
    """Requests of which some are clicked; gives their scores and clicks."""
    rng = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-rng.normal(-2.5, 1.2, requests)))
    clicked = rng.random(requests) < scores
    store.add_predictions([predicted(i, float(score), time_s=BEGIN_S + i / 100) for i, score in enumerate(scores)])
    store.add_outcomes([Outcome(f"r{i}", 1, BEGIN_S + 50.0) for i in np.flatnonzero(clicked)])
    return scores, clicked


def found(store, kind=MATURED, **of):
    return [q for q in store.summary().quality if q.kind == kind and all(getattr(q, k) == v for k, v in of.items())]


def test_the_sums_are_those_of_the_requests(store):
    scores, clicked = market(store)
    tidy(store, BEGIN_S + 100 + WINDOW_S)
    (one,) = found(store)
    assert (one.total.requests, one.total.clicks) == (len(scores), clicked.sum())
    assert one.total.expected == pytest.approx(scores.sum())
    assert one.total.loss == pytest.approx(log_loss(clicked, scores, normalize=False))
    losses = -np.log(np.where(clicked, scores, 1 - scores))
    assert one.total.loss_squared == pytest.approx((losses**2).sum())
    assert area_under_curve(one.bins) == pytest.approx(roc_auc_score(clicked, scores), abs=2e-3)


def test_calibration_precision_and_recall_follow_from_the_bins(store):
    scores, clicked = market(store)
    tidy(store, BEGIN_S + 100 + WINDOW_S)
    (one,) = found(store)
    logit = np.log(scores / (1 - scores))
    for edge in (-3.0, -2.0, -1.0):
        above = one.bins[EDGES.index(edge) + 1 :]
        clicks, requests = sum(b.clicks for b in above), sum(b.requests for b in above)
        assert clicks / requests == pytest.approx(precision_score(clicked, logit > edge))
        assert clicks / one.total.clicks == pytest.approx(recall_score(clicked, logit > edge))
        assert sum(b.expected for b in above) == pytest.approx(scores[logit > edge].sum())


def test_a_window_that_is_not_over_counts_nothing_so_that_the_young_never_look_unclicked(store):
    store.add_predictions([predicted(1, 0.1), predicted(2, 0.1, time_s=BEGIN_S + 10)])
    tidy(store, BEGIN_S + WINDOW_S - 0.1)
    assert found(store) == []
    tidy(store, BEGIN_S + WINDOW_S + 5)
    assert [one.total.requests for one in found(store)] == [1]
    tidy(store, BEGIN_S + WINDOW_S + 10)
    assert [one.total.requests for one in found(store)] == [2]


def test_each_request_counts_once_however_often_the_store_is_opened_and_tidied(place):
    now_s = BEGIN_S
    for step in range(30):
        with EventStore(place, WINDOW_S, lambda: now_s) as store:  # noqa: B023  read at once
            store.add_predictions([predicted(f"{step} {i}", 0.1, time_s=now_s + i) for i in range(50)])
            store.tidy()
        now_s += 77.0
    now_s += WINDOW_S + 1_000
    with EventStore(place, WINDOW_S, lambda: now_s, retention_s=1e6) as store:
        tidy_all = store.tidy
        while tidy_all():
            pass
        for kind in (MATURED, ESTIMATED):
            assert [one.total.requests for one in found(store, kind)] == [1_500]


def test_versions_arms_and_slices_have_sums_of_their_own_and_copies_none(store):
    store.add_predictions(
        [
            predicted(1, 0.1, slices={"device": "phone", "new_user": "true"}),
            predicted(2, 0.2, slices={"device": "tv", "new_user": "true"}),
            predicted(3, 0.3, arm="canary", version="2", slices={"device": "tv"}),
            predicted(3, 0.9, arm="shadow", version="1", slices={"device": "tv"}),
        ]
    )
    tidy(store, BEGIN_S + WINDOW_S)
    sums = {(q.version, q.arm, q.slice, q.part): (q.total.requests, q.total.expected) for q in found(store)}
    assert sums == {
        ("1", "stable", "", ""): (2, pytest.approx(0.3)),
        ("1", "stable", "device", "phone"): (1, 0.1),
        ("1", "stable", "device", "tv"): (1, 0.2),
        ("1", "stable", "new_user", "true"): (2, pytest.approx(0.3)),
        ("2", "canary", "", ""): (1, 0.3),
        ("2", "canary", "device", "tv"): (1, 0.3),
    }


def test_no_request_can_make_more_than_so_many_series_of_a_slice(store):
    for batch in range(3):
        told = [
            predicted(f"{batch} {i}", 0.1, time_s=BEGIN_S + batch, slices={"site": f"{batch} {i}"}) for i in range(40)
        ]
        store.add_predictions(told)
        tidy(store, BEGIN_S + WINDOW_S + batch)
    parts = {one.part: one.total.requests for one in found(store, slice="site")}
    assert len(parts) == 21
    assert parts["other"] == 100


def test_before_labels_come_there_is_an_estimate_that_is_right_where_scores_are_calibrated(store):
    scores, clicked = market(store, requests=20_000)
    tidy(store, BEGIN_S + 300.0)
    assert found(store) == []
    (estimate,) = found(store, ESTIMATED)
    assert estimate.total.requests == len(scores)
    assert estimate.total.clicks == pytest.approx(scores.sum())
    deviation = estimate.total.loss_squared**0.5
    assert abs(estimate.total.loss - log_loss(clicked, scores, normalize=False)) < 4 * deviation
    assert area_under_curve(estimate.bins) == pytest.approx(roc_auc_score(clicked, scores), abs=0.02)


def test_an_outcome_of_another_source_is_no_click(store):
    store.add_predictions([predicted(1, 0.1)])
    store.add_outcomes([Outcome("r1", 1, BEGIN_S + 1, source="purchase")])
    tidy(store, BEGIN_S + WINDOW_S)
    assert [one.total.clicks for one in found(store)] == [0]


def test_the_figures_are_counters_from_which_prometheus_can_tell_the_rest(store):
    """Calibration, loss and AUC as a query would have them: by sums of samples with equal labels."""
    scores, clicked = market(store)
    tidy(store, BEGIN_S + 100 + WINDOW_S)
    page = render(store.summary()).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    told = {
        name: [s for s in family.samples if s.labels["labels"] == "final"]
        for name, family in families.items()
        if name.startswith("perch_quality")
    }
    assert {family.type for name, family in families.items() if name.startswith("perch_quality")} == {"counter"}
    (requests,) = told["perch_quality_requests"]
    (clicks,) = told["perch_quality_clicks"]
    assert (requests.value, clicks.value) == (len(scores), clicked.sum())
    above = {s.labels["bin"]: s.value for s in told["perch_quality_bin_clicks_above"]}
    few = {s.labels["bin"]: s.value for s in told["perch_quality_bin_requests"]}
    some = {s.labels["bin"]: s.value for s in told["perch_quality_bin_clicks"]}
    won = sum((few[one] - some[one]) * above[one] for one in few)
    area = won / ((requests.value - clicks.value) * clicks.value)
    assert area == pytest.approx(roc_auc_score(clicked, scores), abs=2e-3)
    assert not re.search(r"\b(nan|inf)\b", page.replace("+Inf", ""))


def test_the_area_of_no_pair_is_unknown_and_of_equal_scores_a_half():
    bins = len(EDGES) + 1
    assert area_under_curve([Sums()] * bins) is None
    equal = sums_by_bin(np.full(10, 0.2), np.arange(10) % 2.0)
    assert area_under_curve([equal.get(i, Sums()) for i in range(bins)]) == 0.5


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_score_of_0_or_1_costs_much_and_never_infinity(score):
    (sums,) = sums_by_bin(np.array([score]), np.array([1 - score])).values()
    assert 20 < sums.loss < 30
