"""Perch into a cluster that is there, and out again, by the commands that a person types."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from markdown_blocks import ROOT
from perch.install import footprint, proofs
from perch.install.checkout import Checkout
from perch.install.commands import Cluster, current_context

pytestmark = pytest.mark.cluster

PERCH = Path(sys.executable).with_name("perch")


@pytest.fixture(scope="module")
def context(kubeconfig):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", kubeconfig)
        yield current_context()


@pytest.fixture(scope="module")
def cluster(context):
    return Cluster(context)


@pytest.fixture
def namespace(kubectl):
    namespace = f"perch-test-{uuid4().hex[:6]}"
    yield namespace
    kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture
def perch(tmp_path, context):
    def perch(*words, answer=None):
        command = [PERCH, *words]
        env = os.environ | {"COLUMNS": "200"}
        return subprocess.run(
            command, input=answer, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path, env=env
        )

    return perch


def test_the_doctor_finds_nothing_in_the_way(perch, context):
    done = perch("doctor", "--context", context)
    assert done.returncode == 0, done.stdout
    assert "admits an InferenceService" in done.stdout


def test_perch_comes_in_twice_and_leaves_nothing_behind(perch, context, kubectl, namespace):
    settings = ("--set", f"operator.watch={{{namespace}}}", "--set", "mlflow.size=1Gi")
    up = ("cluster", "up", "--context", context, "--namespace", namespace, *settings, "--yes")
    for _ in range(2):
        done = perch(*up)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Perch runs in {context}" in done.stdout
    spec = {"model": "nobody", "cluster": {"gateway": "kserve/kserve-ingress-gateway", "hostname": "a.perch"}}
    service = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": "a"}, "spec": spec}
    kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(service))
    kubectl("wait", "modelservice/a", "-n", namespace, "--for=jsonpath={.metadata.finalizers}", "--timeout=60s")

    done = perch("cluster", "down", "--context", context, "--namespace", namespace, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert kubectl("get", "namespace", namespace, check=False).returncode != 0
    everywhere = kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").stdout
    assert namespace not in everywhere
    assert "Nothing was removed" in perch("cluster", "down", "--context", context, "-n", namespace, "--yes").stdout


def test_who_answers_no_has_nothing_written(perch, context, kubectl, namespace):
    done = perch("cluster", "up", "--context", context, "--namespace", namespace, answer="n\n")
    assert done.returncode == 1
    assert f"namespace {namespace} of {context}" in done.stdout
    assert kubectl("get", "namespace", namespace, check=False).returncode != 0


def test_an_unknown_context_is_one_sentence(perch):
    done = perch("cluster", "up", "--context", "nowhere", "--yes")
    assert done.returncode == 7
    assert done.stderr.startswith("perch: There is no kube context 'nowhere'.")


@pytest.mark.parametrize("proof", [proofs.nodes, proofs.gateway, proofs.kserve, proofs.argo])
def test_a_part_that_works_is_proven_and_the_probe_is_gone(cluster, proof, kubectl):
    for _ in range(30):
        if not (wanting := proof(cluster)):
            break
        time.sleep(1)
    assert wanting == ""
    assert "perch-probe" not in kubectl("get", "httproutes,workflows", "-A", "-o", "name").stdout


def test_the_gateways_chart_is_admitted(kubectl, context):
    for release in (Checkout(ROOT).releases(flavour)["gateway"] for flavour in ("kind", "cloud")):
        values = [word for file in release.values for word in ("--values", file)]
        rendered = subprocess.run(
            ["helm", "template", release.name, release.chart, "--set", "className=perch-test", *values],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        told = kubectl("create", "--dry-run=server", "-f", "-", text=rendered).stdout
        assert told.count("created (server dry run)") == 3


def test_a_footprint_is_measured_from_the_kubelets(cluster):
    found = footprint.measure(cluster, ("kube-system", "kserve"), window_s=12.0)
    assert found.uses["kserve"].memory_bytes > 10 * 2**20
    assert found.images_bytes > 10**8
    assert "| **all** |" in footprint.table(found, [])
