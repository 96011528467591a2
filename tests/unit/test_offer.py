"""Of the candidates that passed, the best asks for traffic; what did not is never offered."""

from dataclasses import replace

import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import ModelVersion, Role
from perch.errors import RefusedError
from perch.pipeline.offer import offer, seat
from perch.pipeline.record import Finding, GateVerdict, Record

QUALITY = Finding(
    "quality", passed=True, sentence="better", figures={"difference_low": -0.1, "difference_high": 0.0},
    verdict=GateVerdict.BETTER,
)  # fmt: skip
PASSED = Record.of([QUALITY])
REFUSED = Record.of([QUALITY, Finding("calibration", passed=False, sentence="it predicts twice the clicks")])


class Known(MemoryRegistry):
    """A registry with versions that were never packaged."""

    def __init__(self, *versions):
        super().__init__()
        self._known = {version.version: version for version in versions}
        self.roles = {}

    def get(self, model, version):
        return self._known[version]

    def holder(self, model, role):
        return self._known.get(self.roles.get(role))

    def assign(self, model, role, version):
        self.roles[role] = version

    def withdraw(self, model, role):
        del self.roles[role]


def version(number, log_loss, record=PASSED, **known):
    tags = {} if record is None else {"gates": record.to_json()}
    return ModelVersion("ctr", number, f"{number:064x}", "lightgbm", metrics={"log_loss": log_loss}, tags=tags, **known)


def test_the_best_of_those_that_passed_is_offered():
    registry = Known(version(2, 0.10), version(3, 0.09), version(4, 0.08, REFUSED))
    assert offer(registry, "ctr", [2, 3, 4]) == 3
    assert registry.roles == {Role.CHALLENGER: 3}


def test_when_none_passed_nothing_is_offered_and_each_reason_is_told():
    quarantined = replace(version(5, 0.1), quarantine="it harmed")
    registry = Known(version(4, 0.08, REFUSED), quarantined, version(6, 0.1, record=None))
    with pytest.raises(RefusedError) as raised:
        offer(registry, "ctr", [4, 5, 6])
    told = str(raised.value)
    assert "version 4 (lightgbm): it predicts twice the clicks" in told
    assert "version 5 (lightgbm): it is in quarantine: it harmed" in told
    assert "version 6 (lightgbm): no gate has judged it" in told
    assert registry.roles == {}


def test_a_version_that_serves_already_keeps_its_role():
    registry = Known(version(2, 0.1, roles=frozenset({Role.CHAMPION})))
    assert offer(registry, "ctr", [2]) == 2
    assert registry.roles == {}


def test_a_first_baseline_serves_and_a_further_one_takes_nothing_away():
    registry = Known(version(1, 0.1), version(2, 0.1))
    seat(registry, version(1, 0.1))
    seat(registry, version(2, 0.1))
    assert registry.roles == {Role.BASELINE: 1, Role.CHAMPION: 1}


def test_a_version_that_is_refused_now_asks_no_longer():
    registry = Known(version(2, 0.1, REFUSED), version(3, 0.1))
    registry.roles = {Role.CHALLENGER: 2}
    with pytest.raises(RefusedError):
        offer(registry, "ctr", [2])
    assert registry.roles == {}


def test_one_that_asks_and_was_not_trained_again_goes_on_asking():
    registry = Known(version(2, 0.1), version(3, 0.1, REFUSED))
    registry.roles = {Role.CHALLENGER: 2}
    with pytest.raises(RefusedError):
        offer(registry, "ctr", [3])
    assert registry.roles == {Role.CHALLENGER: 2}
