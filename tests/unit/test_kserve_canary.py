"""What KServe's canary fields are told, and which splits they are not trusted with."""

import pytest

from fake_kserve import KnativeKserve, StandardKserve
from perch.adapters.traffic.inference_service import InferenceServiceRouter
from perch.adapters.traffic.knative import KNATIVE
from perch.adapters.traffic.kserve_canary import KSERVE_CANARY
from perch.adapters.traffic.shares import ten_thousandths, whole_percents
from perch.core.types import Arm, Weights
from perch.errors import PlatformError


def router(kserve, split, may_write=lambda: None):
    return InferenceServiceRouter(kserve, "ads", "shop", split, may_write=may_write)


@pytest.mark.parametrize(
    ("weights", "percents"),
    [
        (Weights(stable=0.876, canary=0.124), (0, 88, 12)),
        (Weights(stable=0.995, canary=0.005), (0, 100, 0)),
        (Weights(stable=0.005, canary=0.995), (0, 1, 99)),
        (Weights(baseline=0.333, stable=0.0, canary=0.667), (34, 0, 66)),
        (Weights(stable=0.0, canary=1.0), (0, 0, 100)),
    ],
)
def test_whole_percents_never_give_an_arm_on_trial_more_than_its_share(weights, percents):
    assert tuple(whole_percents(ten_thousandths(weights)).values()) == percents


def test_only_the_weights_of_a_canary_are_written():
    kserve = StandardKserve()
    router(kserve, KSERVE_CANARY).route(kserve.endpoints, Weights(baseline=0.01, stable=0.89, canary=0.1))
    (patch,) = kserve.writes
    canary = [
        {"trafficPercent": 1, "predictor": {"name": "v1", "model": {}}},
        {"trafficPercent": 10, "predictor": {"name": "v3", "model": {}}},
    ]
    assert patch == {"metadata": {"resourceVersion": "1"}, "spec": {"canary": canary}}


def test_a_canary_that_no_arm_leads_to_gets_nothing():
    kserve = StandardKserve()
    routed = router(kserve, KSERVE_CANARY)
    routed.route(kserve.endpoints, Weights(baseline=0.0, stable=0.5, canary=0.5))
    routed.route({Arm.STABLE: kserve.endpoints[Arm.STABLE]}, Weights())
    assert kserve.shares() == {"ads-predictor": 100, "ads-v1-predictor": 0, "ads-v3-predictor": 0}


def test_a_promoted_predictor_is_found_by_its_name():
    kserve = StandardKserve()
    kserve.found["spec"] = {"predictor": {"name": "v3", "model": {}}}
    router(kserve, KSERVE_CANARY).route({Arm.STABLE: "ads-v3-predictor.shop:80"}, Weights())
    assert kserve.writes[0]["spec"] == {"canary": []}


def test_what_is_not_in_the_object_gets_no_weight():
    kserve = StandardKserve()
    endpoints = kserve.endpoints | {Arm.CANARY: "ads-v9-predictor.shop:80"}
    with pytest.raises(PlatformError, match="nothing behind ads-v9-predictor, only ads-predictor, ads-v1-predictor"):
        router(kserve, KSERVE_CANARY).route(endpoints, Weights(stable=0.9, canary=0.1))
    assert kserve.writes == []


def test_arms_that_nothing_tells_apart_are_refused():
    kserve = StandardKserve()
    endpoints = kserve.endpoints | {Arm.BASELINE: kserve.endpoints[Arm.STABLE]}
    with pytest.raises(PlatformError, match="baseline: ads-predictor, stable: ads-predictor, canary"):
        router(kserve, KSERVE_CANARY).route(endpoints, Weights(baseline=0.1, stable=0.8, canary=0.1))
    assert kserve.writes == []


def test_an_object_that_changed_meanwhile_is_read_again():
    kserve = StandardKserve()
    kserve.conflicts = 2
    router(kserve, KSERVE_CANARY).route(kserve.endpoints, Weights(stable=0.9, canary=0.1))
    assert len(kserve.writes) == 3
    assert kserve.shares()["ads-v3-predictor"] == 10


def test_an_object_that_never_stands_still_is_told():
    kserve = StandardKserve()
    kserve.conflicts = 3
    with pytest.raises(PlatformError, match="refuses to change the weights of InferenceService ads"):
        router(kserve, KSERVE_CANARY).route(kserve.endpoints, Weights(stable=0.9, canary=0.1))


def test_who_may_not_write_does_not():
    def refuse():
        raise PlatformError("not the holder")

    kserve = StandardKserve()
    with pytest.raises(PlatformError, match="not the holder"):
        router(kserve, KSERVE_CANARY, refuse).route(kserve.endpoints, Weights())
    assert kserve.writes == []


def test_the_newest_revision_gets_the_percent():
    kserve = KnativeKserve()
    router(kserve, KNATIVE).route(kserve.endpoints, Weights(stable=0.8, canary=0.2))
    assert kserve.writes[0]["spec"] == {"predictor": {"canaryTrafficPercent": 20}}


def test_a_revision_that_was_promoted_can_still_go_home():
    kserve = KnativeKserve()
    routed = router(kserve, KNATIVE)
    routed.route(kserve.endpoints, Weights(stable=0.0, canary=1.0))
    assert kserve.revisions["latestRolledoutRevision"] == "ads-predictor-00002"
    routed.route(kserve.endpoints, Weights())
    assert kserve.shares() == {"ads-predictor-00001": 100, "ads-predictor-00002": 0}
    assert routed.weights() == Weights()


def test_knative_has_no_third_arm():
    kserve = KnativeKserve()
    endpoints = kserve.endpoints | {Arm.BASELINE: "ads-predictor-00007.shop:80"}
    with pytest.raises(PlatformError, match="nothing behind ads-predictor-00007"):
        router(kserve, KNATIVE).route(endpoints, Weights(baseline=0.1, stable=0.8, canary=0.1))
    assert kserve.writes == []


def test_while_a_revision_is_made_weight_is_only_taken_away():
    kserve = KnativeKserve()
    routed = router(kserve, KNATIVE)
    routed.route(kserve.endpoints, Weights(stable=0.5, canary=0.5))
    kserve.revisions["latestCreatedRevision"] = "ads-predictor-00003"
    with pytest.raises(PlatformError, match="Revision ads-predictor-00003"):
        routed.route(kserve.endpoints, Weights(stable=0.4, canary=0.6))
    routed.route(kserve.endpoints, Weights())
    assert kserve.shares() == {"ads-predictor-00001": 100, "ads-predictor-00002": 0}


def test_without_revisions_the_percent_is_refused_since_standard_mode_ignores_it():
    kserve = StandardKserve()
    with pytest.raises(PlatformError, match="In Standard mode there is none"):
        router(kserve, KNATIVE).route(kserve.endpoints, Weights(stable=0.9, canary=0.1))
    assert kserve.writes == []
