"""Weights survive their way into whole ten-thousandths."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perch.adapters.traffic.envoy_resources import route_configuration, units_of
from perch.adapters.traffic.shares import WHOLE, as_weights, ten_thousandths
from perch.core.types import Arm, Weights

parts = st.floats(0, 1)


@st.composite
def splits(draw):
    baseline, stable, canary = draw(parts), draw(parts), draw(parts)
    total = baseline + stable + canary
    assume(total > 1e-6)
    return Weights(baseline / total, stable / total, canary / total, draw(parts))


@given(splits())
def test_units_add_up_exactly_and_are_less_than_one_unit_off(weights):
    units = ten_thousandths(weights)
    assert sum(units.values()) == WHOLE
    for arm in (Arm.BASELINE, Arm.STABLE, Arm.CANARY):
        assert units[arm] >= 0
        assert abs(units[arm] - getattr(weights, arm.value) * WHOLE) < 1.001


@given(parts)
def test_an_arm_without_a_weight_never_gets_a_unit_from_rounding(canary):
    units = ten_thousandths(Weights(stable=1 - canary, canary=canary))
    assert units[Arm.BASELINE] == 0


@given(splits())
def test_a_route_tells_the_weights_it_was_made_from(weights):
    units = ten_thousandths(weights)
    mirror = round(weights.mirror * WHOLE)
    told = units_of(route_configuration("ctr", units, mirror, feedback=True), "ctr")
    assert told is not None
    assert as_weights(*told) == as_weights(units, mirror)


@given(st.integers(0, WHOLE))
def test_whole_units_are_kept_as_they_are(canary):
    units = ten_thousandths(Weights(stable=(WHOLE - canary) / WHOLE, canary=canary / WHOLE))
    assert units[Arm.CANARY] == canary
    assert units[Arm.STABLE] == WHOLE - canary


def test_a_route_without_weights_tells_none():
    assert units_of(route_configuration("ctr", {}, 0, feedback=False), "ctr") is None


def test_a_weight_smaller_than_half_a_unit_is_not_sent_anywhere():
    assert ten_thousandths(Weights(stable=1 - 1e-5, canary=1e-5))[Arm.CANARY] == pytest.approx(0)
