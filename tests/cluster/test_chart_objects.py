"""What the chart and the manifests say is what a real API server takes, and what a chart leaves behind is told.

The network plugin of a cluster may enforce no policies, so flows are derived from what the policies say. Kinds that the
cluster does not know (those of the Prometheus operator) are not checked.
"""

import json
import shutil
import subprocess
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from cluster_policies import Pod, allows

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "perch"

DIGESTS = ",".join(f"image.digests.{name}=sha256:{'0' * 64}" for name in ("operator", "serving", "mlflow"))
SETTINGS = {
    "as it comes": [],
    "in two namespaces": ["operator.watch={shop,news}"],
    "from a registry": ["global.imageRegistry=registry.example/you", "image.pullSecrets={login}", DIGESTS],
    "with MLflow elsewhere": ["mlflow.enabled=false", "mlflow.url=https://mlflow.example.com:8443"],
    "with everything": [
        "operator.watch={shop}",
        "operator.faultTokenSecret=faults",
        "operator.gateways={edge/public},operator.domains={example.com}",
        "networkPolicies.apiServer.cidr=10.0.0.1/32",
        "monitoring.podMonitors=true,monitoring.rules=true,monitoring.dashboards=true,monitoring.labels.release=prometheus",
        "scheduling.nodeSelector.disk=fast,scheduling.tolerations[0].operator=Exists",
    ],
    "with little": ["networkPolicies.enabled=false", "collector.enabled=false"],
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


def helm(*words, check=True):
    done = subprocess.run(["helm", *words], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


class Plain(yaml.SafeLoader):
    """Takes `=` for text, as everybody else does: to YAML 1.1 it is a type of its own, which no document has."""


Plain.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def chosen(settings):
    return [word for one in settings for word in ("--set", one)]


def rendered(namespace, settings, *words):
    version = next(line for line in (ROOT / "versions.env").read_text().splitlines() if line.startswith("KUBERNETES_"))
    release = ("template", "perch", CHART, "-n", namespace, "--kube-version", version.partition("=")[2])
    text = helm(*release, *chosen(settings), *words).stdout
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def namespace(kubectl):
    name = f"perch-test-chart-{uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", CHART / "crds" / "modelservices.yaml")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def known(kubectl):
    """The API groups of the cluster."""
    return {line.partition("/")[0] for line in kubectl("api-versions").stdout.splitlines()}


@pytest.fixture
def try_on(kubectl, known, namespace):
    """Has the API server take objects on trial, all in one namespace."""

    def try_on(objects):
        tried = [one for one in objects if one["apiVersion"].partition("/")[0] in known]
        for one in tried:
            if "namespace" in one["metadata"]:
                one["metadata"]["namespace"] = namespace
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": tried})
        kubectl("apply", "--server-side", "--dry-run=server", "-n", namespace, "-f", "-", text=text)
        return len(tried)

    return try_on


@every_setting
def test_the_chart_has_nothing_that_its_linter_minds(settings):
    helm("lint", "--strict", CHART, *chosen(settings))


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("operator.wach={shop}", "wach"),
        ("image.tag=latest", "image/tag"),
        ("operator.gateways={public}", "operator/gateways"),
        ("operator.domains={*.example.com}", "operator/domains"),
        ("mlflow.enabled=false", "mlflow/url"),
        ("networkPolicies.gatewayNamespace=", "gatewayNamespace"),
        ("operator.resources.limit.memory=1Gi", "limit"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(setting, complaint):
    refused = helm("template", "perch", CHART, "--set", setting, check=False)
    assert refused.returncode != 0
    assert complaint in refused.stderr.replace(".", "/") or complaint in refused.stderr


@every_setting
def test_the_api_server_takes_every_object(try_on, namespace, settings):
    objects = rendered(namespace, settings, "--no-hooks")
    assert try_on(objects) >= 12


@every_setting
def test_a_namespace_that_enforces_restricted_admits_every_pod(kubectl, namespace, settings):
    objects = rendered(namespace, settings)
    pods = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Pod"}
    pods |= {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"}
    assert len(pods) >= 3
    for name, spec in pods.items():
        spec.pop("serviceAccountName", None)  # is looked up, and there is none yet
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", text=json.dumps(pod))


def test_the_manifests_are_what_the_chart_says(tmp_path):
    made = tmp_path / "manifests"
    shutil.copytree(ROOT / "manifests", made)
    subprocess.run(["make", "render", f"MANIFESTS={made}"], cwd=ROOT, check=True, capture_output=True)
    for path in (ROOT / "manifests").rglob("*.yaml"):
        again = made / path.relative_to(ROOT / "manifests")
        assert path.read_text() == again.read_text(), f"{path.name} is not what `make render` writes"


@pytest.mark.parametrize("folder", ["base", "services-namespace", "overlays/kind", "overlays/cloud"])
def test_the_api_server_takes_every_object_of_the_manifests(kubectl, try_on, folder):
    documents = kubectl("kustomize", ROOT / "manifests" / folder).stdout.split("\n---\n")
    kinds = [one for one in documents if "\nkind: CustomResourceDefinition\n" in one]
    for kind in kinds:  # as it stands: YAML 1.1, which Python reads, takes its `1e-09` for text
        kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", text=kind)
    objects = [yaml.load(one, Loader=Plain) for one in documents if one not in kinds]
    assert {one["metadata"]["labels"].get("app.kubernetes.io/managed-by") for one in objects} == {"kustomize"}
    assert try_on([one for one in objects if one["kind"] != "Namespace"]) >= 12


def test_prometheus_takes_the_rules_and_raises_each_alert_when_it_should():
    for words in (
        ("check", "rules", CHART / "files" / "rules.yaml"),
        ("test", "rules", Path(__file__).with_name("alerts.yaml")),
    ):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_can_read_every_expression_of_a_dashboard(tmp_path):
    boards = [json.loads(path.read_text()) for path in (CHART / "files" / "dashboards").glob("*.json")]
    panels = [panel for board in boards for panel in board["panels"]]
    asked = [target["expr"].replace("$__rate_interval", "1m") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(asked)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "panels.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def chart_pod(name):
    labels = {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": "perch",
        "app.kubernetes.io/part-of": "perch",
    }
    return Pod("perch", labels)


def serving(namespace):
    return Pod(namespace, {"perch.dev/service": "ads", "perch.dev/version": "2"})


def collector(namespace):
    return Pod(namespace, {"perch.dev/service": "ads", "app.kubernetes.io/name": "perch-collector"})


OURS = {
    "operator": chart_pod("perch-operator"),
    "registry": chart_pod("perch-mlflow"),
    "test": chart_pod("perch-test"),
    "serving": serving("shop"),
    "serving in news": serving("news"),
    "collector": collector("shop"),
    "collector in news": collector("news"),
}
OTHERS = {
    "gateway": Pod("envoy-gateway-system", {}),
    "prometheus": Pod("monitoring", {}),
    "dns": Pod("kube-system", {"k8s-app": "kube-dns"}),
    "API server": Pod(None, {}, address="10.0.0.1"),
    "neighbour": Pod("shop", {"app": "web"}),
    "stranger": Pod("default", {}),
    "somebody else's service": serving("attic"),
    "the internet": Pod(None, {}, address="203.0.113.7"),
}
PORTS = [
    "53/UDP",
    "53/TCP",
    "80/TCP",
    "443/TCP",
    "5000/TCP",
    "6443/TCP",
    "8080/TCP",
    "8081/TCP",
    "8082/TCP",
    "8090/TCP",
]
FLOWS = {
    (asker, "dns", port)
    for asker in ("operator", "test", "serving", "serving in news")
    for port in ("53/UDP", "53/TCP")
}
FLOWS |= {(asker, "API server", port) for asker in ("operator", "test") for port in ("443/TCP", "6443/TCP")}
FLOWS |= {(asker, "registry", "5000/TCP") for asker in ("operator", "test", "serving", "serving in news")}
FLOWS |= {("prometheus", "operator", "8082/TCP")}
for place in ("", " in news"):
    FLOWS |= {(asker, f"serving{place}", "8080/TCP") for asker in ("gateway", "operator", "prometheus")}
    FLOWS |= {("gateway", f"serving{place}", "8081/TCP")}
    askers = ("gateway", "operator", "prometheus", f"serving{place}")
    FLOWS |= {(asker, f"collector{place}", "8090/TCP") for asker in askers}


def test_the_network_policies_allow_each_flow_and_no_other():
    settings = ["operator.watch={shop,news}", "networkPolicies.apiServer.cidr=10.0.0.1/32"]
    policies = [one for one in rendered("perch", settings) if one["kind"] == "NetworkPolicy"]
    everybody = OURS | OTHERS
    allowed = {
        (source, target, port)
        for source, target, port in product(everybody, everybody, PORTS)
        if source != target
        and {source, target} & set(OURS)
        and allows(policies, everybody[source], everybody[target], port)
    }
    assert allowed == FLOWS


def test_it_is_installed_asked_and_taken_away_and_leaves_only_what_it_says(kubectl, kubeconfig, namespace):
    release = ("--kubeconfig", kubeconfig, "-n", namespace)
    settings = [f"operator.watch={{{namespace}}}", "mlflow.size=1Gi", "monitoring.dashboards=true"]
    told = helm(
        *release, "install", "perch", CHART, "--skip-crds", "--wait", "--timeout", "5m", *chosen(settings)
    ).stdout
    try:
        assert helm(*release, "test", "perch", "--timeout", "2m").stdout.count("Succeeded") == 5
        assert (
            kubectl("get", "pods", "-n", namespace, "-l", "app.kubernetes.io/name=perch-test", "-o", "name").stdout
            == ""
        )
    finally:
        helm(*release, "uninstall", "perch", "--wait")
    kubectl("wait", "--for=delete", "pods", "--all", "-n", namespace, "--timeout=90s")
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").stdout.split()
    passing = {"events", "events.events.k8s.io", "pods.metrics.k8s.io"}
    left = kubectl("get", ",".join(set(kinds) - passing), "-n", namespace, "-o", "name").stdout.split()
    of_any_namespace = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    volumes = {"persistentvolumeclaim/perch-mlflow", "persistentvolumeclaim/perch-ledgers"}
    assert set(left) - of_any_namespace == volumes
    in_cluster = kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").stdout
    assert f"{namespace}-perch" not in in_cluster
    command = next(line.strip() for line in told.splitlines() if "kubectl delete pvc" in line)
    kubectl(*command.split()[1:])
    assert kubectl("get", "pvc", "-n", namespace, "-o", "name").stdout == ""
