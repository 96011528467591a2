"""What the page of counters says, read by Prometheus' own parser."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from perch.serving.meters import ARMS, Meters, log_odds
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
GRID = names.grid(27)


def samples(meters):
    families = text_string_to_metric_families(meters.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(meters, name, arm="canary", **labels):
    return samples(meters)[name, frozenset({"model": "ads", "version": "3", "arm": arm, **labels}.items())]


@pytest.fixture
def meters():
    return Meters(Identity("ads", "3"), GRID, SCHEMA)


def test_every_request_on_the_mirror_port_is_a_mirrored_one():
    """A Gateway leaves a copy's host and arm header as they are."""
    meters = Meters(Identity("ads", "3"), GRID, SCHEMA, mirror_port=8081)
    headers = {b"x-perch-arm": b"canary", b"host": b"ads.example"}
    assert [meters.of(headers, port).arm for port in (8080, 8081, None)] == ["canary", "shadow", "canary"]


def test_the_page_says_what_was_counted(meters):
    meter = meters.of({b"x-perch-arm": b"canary"}, 8080)
    meter.started += 2
    meter.finish("ok", 0.027)
    meter.finish("error", 9.0)
    meter.scored(Scores([0.5, 0.1], {"price": 2}, {"site": 1}))
    meters.drop_events(4)
    assert value(meters, f"{names.STARTED}_total") == 2
    assert value(meters, f"{names.FINISHED}_total", outcome="ok") == 1
    assert value(meters, f"{names.FINISHED}_total", outcome="error") == 1
    assert value(meters, f"{names.DURATION}_count") == 1
    assert value(meters, f"{names.DURATION}_sum") == 0.027
    assert value(meters, f"{names.SCORE}_count") == 1
    assert value(meters, f"{names.ROWS}_total") == 2
    assert value(meters, f"{names.MISSING}_total", feature="price") == 2
    assert value(meters, f"{names.UNSEEN}_total", feature="site") == 1
    assert samples(meters)[f"{names.EVENTS_DROPPED}_total", frozenset()] == 4
    assert value(meters, f"{names.STARTED}_total", arm="stable") == 0


def test_the_slo_is_an_edge_and_a_value_on_an_edge_is_within_it(meters):
    meter = meters.of({b"x-perch-arm": b"canary"}, 8080)
    meter.finish("ok", 0.027)
    meter.finish("ok", 0.0271)
    assert value(meters, f"{names.DURATION}_bucket", le="0.027") == 1
    assert value(meters, f"{names.DURATION}_bucket", le="0.025") == 0
    assert value(meters, f"{names.DURATION}_bucket", le="+Inf") == 2


def test_requests_cannot_make_new_series(meters):
    before = samples(meters).keys()
    for i in range(100):
        meters.of({b"x-perch-arm": f"arm-{i}".encode(), b"host": f"h{i}".encode()}, 8080).started += 1
    assert samples(meters).keys() == before
    assert value(meters, f"{names.STARTED}_total", arm="direct") == 100
    assert set(ARMS) == {"baseline", "stable", "canary", "shadow", "direct"}


def test_a_model_name_with_quotes_still_makes_a_readable_page():
    meters = Meters(Identity('a"d\\s\n', "3"), GRID, SCHEMA)
    assert any(("model", 'a"d\\s\n') in labels for _, labels in samples(meters))


@pytest.mark.parametrize("probability", [0.0, 1.0, 5e-324, 1e-20])
def test_log_odds_are_finite_for_every_probability(probability):
    assert math.isfinite(log_odds(probability))


def test_log_odds_of_an_even_chance_are_zero():
    assert log_odds(0.5) == 0
    assert log_odds(0.02) == pytest.approx(math.log(0.02 / 0.98))
