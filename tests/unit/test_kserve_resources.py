"""What the objects of a version say to a cluster."""

from dataclasses import replace

import pytest

from perch.adapters.fleet.kserve_resources import Serving, inference_service, version_service
from perch.adapters.registry.port import ModelVersion
from restricted_pods import assert_restricted

DIGEST = "a" * 64
VERSION = ModelVersion("ad-clicks", 3, DIGEST, "lightgbm", (0,), {}, {}, frozenset(), None)
SERVING = Serving(
    service="ads",
    namespace="shop",
    model="ad-clicks",
    image="perch-serving:1",
    registry_url="http://mlflow:5000",
    slo_latency_ms=100.0,
    replicas=2,
    cpu="250m",
    memory="512Mi",
)


@pytest.fixture
def predictor():
    return inference_service(SERVING, VERSION)["spec"]["predictor"]


def containers(predictor):
    return [*predictor["initContainers"], *predictor["containers"]]


def test_a_pod_fits_the_restricted_standard(predictor):
    assert_restricted(predictor)


def test_resources_are_always_set(predictor):
    """KServe's own default is a whole CPU and 2 GiB."""
    for container in containers(predictor):
        assert container["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
        assert container["resources"]["limits"] == {"memory": "512Mi"}


def test_the_model_is_fetched_by_its_version_and_checked_twice(predictor):
    fetch, serve = (containers(predictor)[i] for i in (0, 1))
    for words in (fetch["command"], serve["args"]):
        assert words[words.index("--digest") + 1] == DIGEST
        assert words[words.index("--version") + 1] == "3"
    into = fetch["command"][fetch["command"].index("--into") + 1]
    assert serve["args"][serve["args"].index("--package") + 1] == into


def test_kserve_makes_a_plain_deployment_of_the_wanted_size_and_no_route():
    told = inference_service(SERVING, VERSION)
    assert told["metadata"]["name"] == "ads-v3"
    assert told["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert told["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert told["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"
    assert told["spec"]["predictor"]["minReplicas"] == told["spec"]["predictor"]["maxReplicas"] == 2


def test_faults_can_be_switched_only_where_a_token_is_mounted(predictor):
    assert "--allow-faults" not in predictor["containers"][0]["args"]
    told = inference_service(replace(SERVING, token_secret="faults"), VERSION)["spec"]["predictor"]
    assert "--allow-faults" in told["containers"][0]["args"]
    assert {"name": "token", "secret": {"secretName": "faults"}} in told["volumes"]


def test_predictions_are_told_with_a_token_that_opens_nothing_else(predictor):
    assert "--collector" not in predictor["containers"][0]["args"]
    collecting = replace(SERVING, collector_url="http://ads-collector.shop.svc:8090")
    told = inference_service(collecting, VERSION)["spec"]["predictor"]
    args = told["containers"][0]["args"]
    assert args[args.index("--collector") + 1] == collecting.collector_url
    mounted = {one["name"]: one["mountPath"] for one in told["containers"][0]["volumeMounts"]}
    assert args[args.index("--collector-token-file") + 1] == f"{mounted['collector']}/token"
    (secret,) = (one["secret"] for one in told["volumes"] if one["name"] == "collector")
    assert secret == {"secretName": "ads-collector", "items": [{"key": "token", "path": "token"}]}
    assert "collector" not in {one["name"] for one in told["initContainers"][0]["volumeMounts"]}


def test_images_of_a_private_registry_can_be_pulled():
    told = inference_service(replace(SERVING, pull_secrets=("login", "mirror")), VERSION)["spec"]["predictor"]
    assert told["imagePullSecrets"] == [{"name": "login"}, {"name": "mirror"}]


def test_the_service_leads_live_requests_and_copies_to_different_ports_of_the_same_pods():
    told, labels = version_service(SERVING, 3), inference_service(SERVING, VERSION)["metadata"]["labels"]
    assert told["spec"]["selector"].items() <= labels.items()
    assert [(one["port"], one["targetPort"]) for one in told["spec"]["ports"]] == [(80, 8080), (81, 8081)]
