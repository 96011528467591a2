"""What the Deployment of a judge says to a cluster."""

import pytest

from perch.adapters.labels.collector_resources import Collecting, Volume, secret, stateful_set
from perch.adapters.labels.judge_resources import Judging, cron_job, deployment
from perch.collector import __main__ as collector
from perch.judge import __main__ as judge
from perch.judge import inspect as inspection
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


def test_an_inspection_is_a_restricted_pod_that_ends_once_an_hour_and_one_at_a_time():
    spec = cron_job(COLLECTING, JUDGING)["spec"]
    job = spec["jobTemplate"]["spec"]
    assert_restricted(job["template"]["spec"])
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["schedule"].split()[1:] == ["*"] * 4
    assert 0 <= int(spec["schedule"].split()[0]) < 60
    assert job["activeDeadlineSeconds"] < 3_600


def test_an_inspection_is_run_with_what_it_takes_and_reaches_what_a_judge_reaches(runs):
    template = cron_job(COLLECTING, JUDGING)["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["command"][:3] == ["python", "-m", "perch.judge.inspect"]
    options = inspection._parser().parse_args(container["command"][3:])
    assert (options.collector, options.registry, options.model) == (COLLECTING.url, "http://mlflow:5000", "ad-clicks")
    assert str(options.token_file) == judge._parser().parse_args(_judges(runs)).token_file.as_posix()
    assert template["metadata"]["labels"] == runs["template"]["metadata"]["labels"]


def _judges(runs):
    (container,) = runs["template"]["spec"]["containers"]
    return container["command"][3:]
