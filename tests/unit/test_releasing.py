"""A release step may be run again at any point, and says how its rollout ended."""

import pytest

from perch.adapters.cluster.kubectl import MissingError
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import ModelVersion, Role
from perch.errors import PlatformError, RolloutError
from perch.pipeline.record import Finding, GateVerdict, Record
from perch.workflows.releasing import await_end, begin


class Place:
    """A service whose looks are written down beforehand."""

    def __init__(self, *looks, registry=None):
        self.looks, self.released, self._registry = list(looks), [], registry or MemoryRegistry()

    def status(self, service):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def release(self, service, version):
        self.released.append((service, version))
        return f"v{version}-1"

    def registry(self):
        return self._registry


def look(phase=None, outcome=None, rollout=None, sentence="", **arms):
    return {"model": "ctr", "arms": arms, "phase": phase, "outcome": outcome, "rollout": rollout, "sentence": sentence}


def test_a_version_is_wished_for():
    place = Place(look(stable=1))
    assert begin(place, "ads", 2) == "v2-1"
    assert place.released == [("ads", 2)]


def test_a_version_that_serves_is_not_wished_for_again():
    place = Place(look(stable=2))
    assert begin(place, "ads", 2) == ""
    assert not place.released
    assert await_end(place, "ads", "") == "The version serves already."


def test_a_wish_that_was_made_before_the_step_died_is_found_again():
    place = Place(look("ramp", rollout="v2-4", stable=1, canary=2))
    assert begin(place, "ads", 2) == "v2-4"
    assert not place.released


def test_without_a_challenger_there_is_nothing_to_release():
    with pytest.raises(RolloutError, match=r"No version of ctr asks for traffic\. Train one"):
        begin(Place(look(stable=1)), "ads", None)


def test_the_end_of_a_rollout_is_awaited_and_told():
    place = Place(
        look("shadow", rollout="v2-1"),
        PlatformError("nobody answers"),
        look("guard", rollout="v2-1"),
        look("done", "promote", "v2-1", "It is the champion."),
    )
    slept = []
    assert await_end(place, "ads", "v2-1", sleep=slept.append) == "It is the champion."
    assert len(slept) == 3


def test_a_version_that_came_home_fails_the_step_with_the_reason():
    place = Place(look("done", "roll_back", "v2-1", "Rolled back: it harms."))
    with pytest.raises(RolloutError, match="Rolled back: it harms"):
        await_end(place, "ads", "v2-1")


def test_a_rollout_that_another_one_followed_is_not_taken_for_it():
    with pytest.raises(RolloutError, match=r"Rollout v3-1 has begun\. How v2-1 ended: perch why v2-1"):
        await_end(Place(look("shadow", rollout="v3-1")), "ads", "v2-1")


def test_silence_is_borne_for_five_minutes():
    now = iter(range(0, 1_000, 100))
    with pytest.raises(PlatformError, match="nobody answers"):
        await_end(Place(PlatformError("nobody answers")), "ads", "v2-1", sleep=lambda _: None, clock=lambda: next(now))


class Asked(MemoryRegistry):
    """A registry whose version 2 asks for traffic, with what a gate found."""

    def __init__(self, passed, *roles):
        super().__init__()
        figures = {"difference_low": -0.1, "difference_high": 0.0}
        quality = Finding("quality", passed=True, sentence="better", figures=figures, verdict=GateVerdict.BETTER)
        record = Record.of([quality, Finding("size", passed=passed, sentence="the package has 9 MB")])
        tags = {"gates": record.to_json()}
        self._asking = ModelVersion("ctr", 2, "d", "lightgbm", metrics={}, tags=tags, roles=frozenset(roles))

    def holder(self, model, role):
        return self._asking if role is Role.CHALLENGER else None


def test_the_challenger_is_wished_for_where_nobody_names_a_version():
    place = Place(look(stable=1), registry=Asked(True, Role.CHALLENGER))
    assert begin(place, "ads", None) == "v2-1"


def test_a_challenger_whose_gates_refuse_it_now_is_not_wished_for():
    place = Place(look(stable=1), registry=Asked(False, Role.CHALLENGER))
    with pytest.raises(
        RolloutError, match=r"Version 2 asks for traffic, and its gates refuse it: the package has 9 MB"
    ):
        begin(place, "ads", None)
    assert not place.released


def test_a_person_who_names_a_version_is_not_asked_about_its_gates():
    place = Place(look(stable=1), registry=Asked(False, Role.CHALLENGER))
    assert begin(place, "ads", 2) == "v2-1"


def test_a_service_that_is_gone_ends_the_step_at_once():
    with pytest.raises(RolloutError, match="ads is gone, and its rollout v2-1 with it"):
        await_end(Place(MissingError("There is no ModelService ads.")), "ads", "v2-1", sleep=lambda _: None)
