"""What the Deployment of a judge says to a cluster."""

import pytest

from perch.adapters.labels.collector_resources import Collecting, Volume, secret, stateful_set
from perch.adapters.labels.judge_resources import Judging, deployment
from perch.collector import __main__ as collector
from perch.judge import __main__ as judge
from restricted_pods import assert_restricted

COLLECTING = Collecting("ads", "shop", "perch-serving:1", 1800.0, Volume("2Gi", None), ("registry-key",))
JUDGING = Judging("perch-training:1", "ad-clicks", "http://mlflow:5000")


@pytest.fixture
def runs():
    return deployment(COLLECTING, JUDGING)["spec"]


def test_a_pod_fits_the_restricted_standard(runs):
    assert_restricted(runs["template"]["spec"])


def test_it_is_run_with_what_the_judge_takes_and_sees_one_token_only(runs):
    pod = runs["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:3] == ["python", "-m", "perch.judge"]
    options = judge._parser().parse_args(container["command"][3:])
    assert (options.collector, options.registry, options.model) == (COLLECTING.url, "http://mlflow:5000", "ad-clicks")
    assert container["image"] == "perch-training:1"
    assert pod["imagePullSecrets"] == [{"name": "registry-key"}]
    (token,) = [one["secret"] for one in pod["volumes"] if "secret" in one]
    (item,) = token["items"]
    (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "token"]
    assert str(options.token_file) == f"{mount}/{item['path']}"
    assert item["key"] in secret(COLLECTING)["stringData"]
    assert token["secretName"] == secret(COLLECTING)["metadata"]["name"]


def test_the_collector_reads_the_same_token():
    (container,) = stateful_set(COLLECTING, "digest")["spec"]["template"]["spec"]["containers"]
    options = collector._parser().parse_args(container["command"][3:])
    assert options.judge_token_file.name in secret(COLLECTING)["stringData"]


def test_its_pods_are_selected_by_their_labels_and_are_no_collectors(runs):
    labels = runs["template"]["metadata"]["labels"]
    assert runs["selector"]["matchLabels"].items() <= labels.items()
    collecting = stateful_set(COLLECTING, "digest")["spec"]["selector"]["matchLabels"]
    assert not collecting.items() <= labels.items()
