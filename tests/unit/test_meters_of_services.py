"""What is told to Prometheus of services."""

from types import SimpleNamespace

import pytest
from prometheus_client import generate_latest

from perch.core.attributions import AttributionReading
from perch.core.decay import Decay
from perch.core.freshness_types import State as Age
from perch.core.inputs import State
from perch.core.policy import FreshnessPolicy, Slo
from perch.rollout.meters import Meters


@pytest.fixture
def meters():
    return Meters(lambda: True)


def shown(meters):
    """The page's series of services, without their common start and labels."""
    lines = generate_latest(meters.registry).decode().splitlines()
    of_services = [line for line in lines if line.startswith("perch_modelservice_")]
    return {
        line.removeprefix("perch_modelservice_").replace('name="ads",namespace="shop"', "ads") for line in of_services
    }


def tell(meters, phase, *, name="ads", ready=True, outcome=None, canary_weight=0, e_value=1):
    meters.tell("shop", name, ready=ready, phase=phase, outcome=outcome, canary_weight=canary_weight, e_value=e_value)


def test_a_service_is_told_of_with_its_promise_its_weight_its_evidence_and_one_phase(meters):
    meters.begin("shop", "ads", Slo(error_rate=0.02, latency_p99_ms=50))
    tell(meters, "shadow", canary_weight=0, e_value=1)
    tell(meters, "ramp", canary_weight=0.1, e_value=2.5)
    assert shown(meters) == {
        "slo_error_rate{ads} 0.02",
        "slo_latency_seconds{ads} 0.05",
        "ready{ads} 1.0",
        "canary_weight{ads} 0.1",
        "fallen_back{ads} 0.0",
        "evidence{ads} 2.5",
        'phase{ads,phase="ramp"} 1.0',
    }


def test_a_service_that_is_not_run_is_not_ready(meters):
    meters.tell_not_served("shop", "ads")
    assert shown(meters) == {"ready{ads} 0.0"}


def test_a_service_that_begins_is_not_ready_until_it_is_told_to_be(meters):
    meters.begin("shop", "ads", Slo())
    assert "ready{ads} 0.0" in shown(meters)


def test_a_champion_that_is_down_is_not_ready(meters):
    tell(meters, "serving", ready=False, canary_weight=0, e_value=1)
    assert "ready{ads} 0.0" in shown(meters)


def test_what_is_forgotten_leaves_no_series_and_the_others_alone(meters):
    for name in ("ads", "news"):
        meters.begin("shop", name, Slo())
        tell(meters, "ramp", name=name, canary_weight=0.1)
    before = shown(meters)
    meters.forget("shop", "ads")
    assert shown(meters) == {line for line in before if "ads" not in line} != before


def test_the_lease_is_asked_for_at_each_look():
    lease = SimpleNamespace(held=True)
    meters = Meters(lambda: lease.held)
    lease.held = False
    assert b"perch_operator_lease_held 0.0" in generate_latest(meters.registry)


def test_the_age_of_a_model_is_told_once_somebody_has_looked(meters):
    policy = FreshnessPolicy(staleness_limit_s=86_400.0, decay_quiet_s=10_000.0)
    meters.tell_age("shop", "ads", Age(), policy, 5_000.0)
    assert shown(meters) == set()
    decay = Decay(detectors=(2_500.0,) * len(Decay().detectors), is_silent=True)
    meters.tell_age("shop", "ads", Age(version=3, fresh_s=1_000.0, failures=2, decay=decay), policy, 5_000.0)
    assert shown(meters) == {
        "model_age_seconds{ads} 4000.0",
        "model_age_limit_seconds{ads} 86400.0",
        "decay_level{ads} 0.25",
        "labels_silent{ads} 1.0",
        "training_failures{ads} 2.0",
    }


def test_a_fallback_is_told_until_another_rollout_ends_otherwise(meters):
    tell(meters, "serving", outcome="fall_back")
    assert "fallen_back{ads} 1.0" in shown(meters)
    tell(meters, "serving", outcome="promote")
    assert "fallen_back{ads} 0.0" in shown(meters)


def test_what_inputs_add_is_told_by_input_and_the_last_window_takes_the_place_of_the_one_before(meters):
    def reading(feature, *, drifts):
        return AttributionReading(feature, 900, 0.6, 0.1, 0.7, 0.2, 0.5, 0.15, "", drifts=drifts)

    meters.tell_drift("shop", "ads", State(attributions={"site": reading("site", drifts=False)}))
    meters.tell_drift("shop", "ads", State(attributions={"price": reading("price", drifts=True)}))
    told = {line for line in shown(meters) if line.startswith("attribution_")}
    assert told == {
        'attribution_mean{feature="price",ads} 0.6',
        'attribution_magnitude{feature="price",ads} 0.7',
        'attribution_difference{feature="price",ads} 0.5',
        'attribution_limit{feature="price",ads} 0.15',
        'attribution_active{feature="price",ads} 1.0',
    }
