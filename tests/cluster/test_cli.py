"""A release by the command line, as a person goes through it: train, start, watch, break, why."""

import json
import time
from uuid import uuid4

import pytest

from cluster_person import Person
from cluster_release import CLUSTER, POLICY
from perch import errors
from perch.world.market import Market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def person(tmp_path, kubeconfig, kubectl, installed):
    """Who declares a service of her own, with a model of its own; it goes with the test."""
    name = f"cli-{uuid4().hex[:4]}"
    head = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": name}}
    spec = {"model": name, "slo": {"latencyP99Ms": 100}, "policy": POLICY | {"shadow": False}, "cluster": CLUSTER}
    (tmp_path / "perch.yaml").write_text(json.dumps(head | {"spec": spec}))  # JSON is YAML
    Market(0).log(7, 40_000).to_parquet(tmp_path / "clicks.parquet")
    yield Person(tmp_path, kubeconfig, kubectl("config", "current-context").stdout.strip(), installed)
    kubectl("delete", "modelservice", name, "-n", installed, "--ignore-not-found", "--timeout=60s")


def test_a_release_goes_through_the_verbs_of_the_local_platform(person, kubectl, installed, gateway, tmp_path):
    assert "register" in person.says("train", "--data", "clicks.parquet")
    assert "baseline, champion" in person.says("models")
    kubectl("apply", "-n", installed, "-f", tmp_path / "perch.yaml")
    assert "There has been no rollout yet." in person.until_it_serves()

    with person.begins("market", "--url", gateway, "--rps", "60", "--seconds", "600") as market:
        while "version 1: " not in market.stdout.readline():
            assert market.poll() is None
        assert "Rollout v2-1 has begun." in person.says("rollout", "start", "--version", "2")
        with person.begins("status", "--watch") as watching:
            assert "Broken by errors: version 2, in 1 process." in person.says("break", "errors")
            told = watching.communicate(timeout=200)[0]
        assert "v2-1: roll_back" in told

        assert "Rolled back: the canary failed " in person.says("why")
        assert "roll_back" in person.says("rollout", "history")
        assert "Every decision the same" in person.says("policy", "backtest", "v2-1")
        assert "in quarantine" in person.says("rollout", "retry", code=errors.RolloutError.exit_code)
        assert "Rollout v2-2 has begun, a retry of v2-1." in person.says("rollout", "retry", "--override")
        person.says("rollout", "pause")
        time.sleep(3)
        assert "paused" in person.says("status")
        person.says("rollout", "rollback")
        time.sleep(3)
        assert "a person asked for it" in person.says("status")
        market.terminate()
