"""A real cluster, and Perch installed in it by its chart.

The images must be on its nodes. Requests go through the Gateway's Service.
"""

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import Role
from perch.pipeline.run import train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.world.market import Market

_FIGURES = pytest.StashKey[list[tuple[str, str]]]()

LOG = (14, 250_000)
"""Days and impressions that the models are trained on."""

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "perch"


@pytest.fixture
def measured(request):
    """Takes a name and a figure, which are told when all tests are over."""
    figures = request.config.stash.setdefault(_FIGURES, [])
    return lambda name, figure: figures.append((f"{request.node.name}: {name}", str(figure)))


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("measured")
    for name, figure in figures:
        terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(scope="session")
def kubeconfig():
    if "PERCH_TEST_KUBECONFIG" not in os.environ:
        pytest.skip("PERCH_TEST_KUBECONFIG names no cluster")
    return os.environ["PERCH_TEST_KUBECONFIG"]


@pytest.fixture(scope="session")
def kubectl(kubeconfig):
    """Runs `kubectl` on the cluster; gives the finished process."""

    def kubectl(*words, text=None, check=True):
        command = ["kubectl", "--kubeconfig", kubeconfig, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done

    return kubectl


@pytest.fixture(scope="session")
def installed(kubectl, kubeconfig):
    """The chart in a namespace of its own that enforces restricted pods; nothing of it is left afterwards."""
    namespace = f"perch-test-{uuid4().hex[:6]}"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", CHART / "crds" / "modelservices.yaml")
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    for secret in ("faults", "alerts"):
        kubectl("create", "secret", "generic", secret, "-n", namespace, "--from-literal=token=for-tests-only")
    settings = ["operator.faultTokenSecret=faults", "operator.alertsTokenSecret=alerts"]
    settings += [f"operator.watch={{{namespace}}}", "mlflow.size=1Gi"]
    settings += ["training.enabled=true", "training.memory.namespace=argo"]
    helm = ["helm", "--kubeconfig", kubeconfig, "-n", namespace]
    values = [word for setting in settings for word in ("--set", setting)]
    subprocess.run([*helm, "install", "perch", CHART, "--skip-crds", "--wait", "--timeout", "5m", *values], check=True)
    try:
        yield namespace
    finally:
        kubectl("delete", "modelservices", "--all", "-n", namespace, "--timeout=60s", check=False)
        subprocess.run([*helm, "uninstall", "perch", "--wait"], check=False)
        ours = ("inferenceservices,httproutes,statefulsets,secrets", "-l", "perch.dev/service", "-n", namespace)
        kubectl("wait", "--for=delete", *ours, "--timeout=60s", check=False)  # pods that end have a grace period
        left = kubectl("get", *ours, "-o", "name").stdout
        kubectl("delete", "namespace", namespace, "--wait=false")
    assert left == ""


@contextmanager
def forwarded(kubeconfig, namespace, target, port):
    """A port of this machine that leads to `target`, such as `svc/mlflow`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        local = listener.getsockname()[1]
    command = ["kubectl", "--kubeconfig", kubeconfig, "-n", namespace, "port-forward", target, f"{local}:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as forward:
        try:
            _await_port(local)
            yield f"http://127.0.0.1:{local}"
        finally:
            forward.terminate()


def _await_port(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(port)


@pytest.fixture(scope="session")
def forward(kubeconfig, installed):
    return lambda target, port: forwarded(kubeconfig, installed, target, port)


@pytest.fixture(scope="session")
def registry(forward, tmp_path_factory):
    """The cluster's registry, with a baseline (1) and a challenger (2), and the challenger once more (3, 4)."""
    folder = tmp_path_factory.mktemp("training")
    Market(0).log(*LOG).to_parquet(folder / "clicks.parquet")
    with forward("svc/perch-mlflow", 5000) as url:
        registry = MlflowRegistry(url)
        source = Source(folder / "clicks.parquet", "parquet")
        train(source, registry=registry, model="ad-clicks", workdir=folder, settings=PipelineSettings(resamples=20))
        package = registry.fetch("ad-clicks", 2, folder / "fetched")
        known = registry.get("ad-clicks", 2)
        for _ in range(2):
            registry.register("ad-clicks", package, metrics=known.metrics, tags=known.tags)
        yield registry


@pytest.fixture(scope="session")
def blind(registry, tmp_path_factory):
    """The challenger once more, of whose scores nothing is expected: only labels can tell what is wrong with them."""
    package, known = registry.fetch("ad-clicks", 2, tmp_path_factory.mktemp("blind")), registry.get("ad-clicks", 2)
    version = registry.register("ad-clicks", package, metrics=known.metrics, tags=known.tags).version
    registry._client.set_model_version_tag("ad-clicks", str(version), "perch.score_histogram", "[]")
    return version


class ServiceObject:
    """A ModelService in the cluster, as a person sees it."""

    def __init__(self, kubectl, namespace, name):
        self._kubectl, self._namespace, self.name = kubectl, namespace, name
        self.hostname = f"{name}.{namespace}.perch"

    def apply(self, **spec):
        head = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": self.name}}
        self._kubectl("apply", "-n", self._namespace, "-f", "-", text=json.dumps(head | {"spec": spec}))

    def wish(self, version):
        self._patch({"spec": {"version": version}})

    def ask(self, verb):
        request = json.dumps({"id": uuid4().hex, "verb": verb})
        self._patch({"metadata": {"annotations": {"perch.dev/request": request}}})

    def _patch(self, patch):
        words = ("patch", "modelservice", self.name, "-n", self._namespace, "--type=merge", "-p", json.dumps(patch))
        self._kubectl(*words)

    @property
    def status(self):
        told = self._kubectl("get", "modelservice", self.name, "-n", self._namespace, "-o", "json").stdout
        status = json.loads(told).get("status", {})
        conditions = {one["type"]: one["message"] for one in status.pop("conditions", [])}
        fields = dict.fromkeys(("champion", "phase", "rollout", "sentence", "canary", "weight"))
        return SimpleNamespace(**fields | status, conditions=conditions)

    def pods(self, version):
        selector = f"perch.dev/service={self.name},perch.dev/version={version}"
        told = self._kubectl("get", "pods", "-n", self._namespace, "-l", selector, "-o", "name").stdout
        return told.split()


@pytest.fixture
def service(kubectl, installed, registry):
    """A service that serves version 1, which is its baseline, too."""
    service = ServiceObject(kubectl, installed, f"ads-{uuid4().hex[:4]}")
    for version in (2, 3, 4):
        registry.quarantine("ad-clicks", version, None)
    registry.assign("ad-clicks", Role.CHAMPION, 1)
    yield service
    kubectl("delete", "modelservice", service.name, "-n", installed, "--timeout=60s", "--ignore-not-found")


@pytest.fixture(scope="session")
def market():
    """Who asks and clicks."""
    market = Market(0)
    market.log(*LOG)  # the users that the models were trained on
    return market


@pytest.fixture(scope="session")
def gateway(kubectl):
    """Address of the Gateway's Service."""
    words = ("get", "service", "gateway", "-n", "envoy-gateway-system", "-o", "jsonpath={.spec.clusterIP}")
    return os.environ.get("PERCH_TEST_GATEWAY") or f"http://{kubectl(*words).stdout}"
