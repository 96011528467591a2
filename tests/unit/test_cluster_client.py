"""The verbs on a cluster: what is written there, what is said of the answers, and what is refused."""

import base64
import io
import json
import shutil
import sys
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from core_market import Version
from perch import errors
from perch.adapters.registry.memory import MemoryRegistry
from perch.cli.rollout import tell_status
from perch.core.codec import loads
from perch.core.types import Weights
from perch.drift.remembered import Remembered
from perch.operator import client, reach
from perch.operator.reporting import told
from perch.rollout import running as running_module
from perch.rollout.standing import Standing
from service_world import FAST, World, register, registered

ON = ("--context", "prod")
FRESH = Standing("ad-clicks", champion=1, baseline=1)
PERCH_YAML = """
apiVersion: perch.dev/v1alpha1
kind: ModelService
metadata: {name: ads}
spec: {model: ad-clicks}
"""
FAKE = Path(__file__).parents[1] / "fake_kubectl.py"


class Cluster:
    """What stands behind the fake `kubectl`."""

    def __init__(self, home):
        self.home = home
        self.objects = {}
        self.write("operator.json", {})

    def write(self, name, content):
        (self.home / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def put(self, kind, name, namespace="shop", labels=None, **content):
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}, "generation": 1}
        self.objects[f"{kind}/{name}"] = {"metadata": metadata} | content
        self.write("objects.json", self.objects)

    def serves(self, standing, *conditions, **spec):
        status = told(standing, Weights(stable=1.0)).model_dump(by_alias=True, mode="json")
        status["conditions"] = [condition(1, *one) for one in conditions]
        self.put("modelservices.perch.dev", "ads", spec={"model": "ad-clicks"} | spec, status=status)

    def answers(self, status, message, reason="Released", **more):
        self.write("operator.json", {"conditions": [condition(2, status, message, reason)]} | more)

    def runs_operator(self, *arguments, namespace="perch"):
        labels = {"app.kubernetes.io/name": "perch-operator"}
        self.put("pods", f"operator-{namespace}", namespace, labels, **running(args=list(arguments)))

    def runs_version(self, version, *pods, secret="faults"):
        labels = {"perch.dev/service": "ads", "perch.dev/version": str(version)}
        volumes = [{"name": "model", "emptyDir": {}}]
        volumes += [{"name": "token", "secret": {"secretName": secret}}] if secret else []
        for pod in pods:
            self.put("pods", pod, "shop", labels, **running(volumes=volumes))

    @property
    def calls(self):
        return [json.loads(line) for line in (self.home / "calls.jsonl").read_text().splitlines()]

    @property
    def patches(self):
        return [json.loads(call[call.index("--patch") + 1]) for call in self.calls if "patch" in call]

    @property
    def requests(self):
        return [json.loads(patch["metadata"]["annotations"]["perch.dev/request"]) for patch in self.patches]


def condition(second, status, message, reason="Released"):
    at = f"2026-01-01T00:00:0{second}Z"
    said = {"type": "Accepted", "status": status, "reason": reason, "message": message}
    return said | {"lastTransitionTime": at, "observedGeneration": 1}


def running(args=(), volumes=()):
    return {"status": {"phase": "Running"}, "spec": {"containers": [{"args": args}], "volumes": list(volumes)}}


@pytest.fixture
def cluster(perch, tmp_path, monkeypatch):
    home, programs = tmp_path / "cluster", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    kubectl = programs / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("FAKE_CLUSTER", str(home))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(client, "_LOOK_S", 0.01)
    (tmp_path / "perch.yaml").write_text(PERCH_YAML)
    cluster = Cluster(home)
    cluster.serves(FRESH)
    return cluster


@pytest.fixture(scope="module")
def rollout(tmp_path_factory):
    """Version 2, which fails, in mid-rollout and after it; and the folder with its ledger."""
    folder = tmp_path_factory.mktemp("rollout")
    registry = registered(folder, 1, 2)

    def standing():
        return loads(Standing, (folder / "state" / "service.json").read_text())

    with pytest.MonkeyPatch.context() as quick, World(registry, folder / "state") as world:
        quick.setattr(running_module, "_DRAIN_S", 0.0)
        world.behaviour[2] = Version(error_rate=0.3)
        world.release(2, replace(FAST, shadow=False))
        world.tick()
        underway = standing()
        world.run_out()
    return underway, standing(), folder / "state"


@pytest.fixture
def underway(rollout):
    return rollout[0]


@pytest.fixture
def home(rollout):
    return rollout[1]


# --- where ----------------------------------------------------------------------------------------------------------


def test_the_context_is_named_in_every_call_and_never_the_current_one(cluster, perch):
    cluster.answers("True", "Rollout v2-1 has begun.", rollout="v2-1")
    perch("rollout", "start", "--version", "2", *ON)
    assert len(cluster.calls) > 2
    assert {tuple(call[:2]) for call in cluster.calls} == {("--context", "prod")}


def test_a_namespace_without_a_cluster_is_a_usage_error(perch):
    code, said = perch("status", "--namespace", "shop")
    assert code == errors.UsageError.exit_code
    assert "Name its context with --context" in said


def test_the_environment_names_a_cluster_too(cluster, perch, monkeypatch):
    monkeypatch.setenv("PERCH_CONTEXT", "prod")
    code, said = perch("status")
    assert (code, said.splitlines()[0]) == (0, "ads at http://ads.shop.perch")


def test_a_service_may_be_named_where_there_is_no_declaration(cluster, perch, tmp_path):
    (tmp_path / "perch.yaml").unlink()
    assert perch("status", *ON, "--service", "ads")[0] == 0
    assert perch("status", *ON)[0] == errors.DeclarationError.exit_code


# --- status ---------------------------------------------------------------------------------------------------------


def test_a_rollout_is_told_as_on_one_machine(cluster, perch, underway):
    cluster.serves(underway)
    lines = perch("rollout", "status", *ON)[1].splitlines()
    assert lines[1].split() == ["stable", "version", "1", "99.0", "%", "ads-v1"]
    assert lines[2].split() == ["canary", "version", "2", "1.0", "%", "ads-v2"]
    assert lines[3].startswith("v2-1: ramp, evidence ")
    assert lines[4] == underway.attempt.sentence


def test_a_status_names_the_collector_that_can_be_reached_from_here(capsys):
    told = {"name": "ads", "route": "http://h:1", "arms": {}, "rollout": "", "sentence": ""}
    target = SimpleNamespace(status=lambda: told | {"collector": "http://h:2"}, drift=Remembered)
    tell_status(target, watch=False)
    assert ["collector", "http://h:2"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_watching_ends_with_the_rollout(cluster, perch, home):
    cluster.serves(home)
    code, said = perch("status", "--watch", *ON)
    assert code == 0
    assert "v2-1: roll_back" in said


def test_what_was_refused_is_told_with_the_status(cluster, perch):
    cluster.serves(FRESH, ("False", "ad-clicks has no version 9."))
    assert perch("status", *ON)[1].splitlines()[-1] == "Refused: ad-clicks has no version 9."


def test_a_service_that_no_operator_has_brought_up_says_where_to_look(cluster, perch):
    cluster.put("modelservices.perch.dev", "ads", spec={})
    code, said = perch("status", *ON)
    assert code == errors.PlatformError.exit_code
    assert "No operator has brought ModelService ads up yet" in said
    assert "describe modelservice ads" in said


@pytest.mark.parametrize("status", [{"engine": "nonsense"}, {"phase": 3}, {"later": True}])
def test_a_status_of_another_version_is_named_as_such(cluster, perch, status):
    cluster.put("modelservices.perch.dev", "ads", spec={}, status=status)
    code, said = perch("status", *ON)
    assert code == errors.PlatformError.exit_code
    assert "was written by another version of Perch" in said


# --- releases -------------------------------------------------------------------------------------------------------


def test_a_release_writes_the_version_and_nothing_else(cluster, perch):
    cluster.answers("True", "Rollout v2-1 has begun.", rollout="v2-1")
    code, said = perch("rollout", "start", "--version", "2", *ON)
    assert (code, cluster.patches) == (0, [{"spec": {"version": 2}}])
    assert said == "Rollout v2-1 has begun. Watch it with: perch rollout status --watch --context prod\n"


def test_what_differs_from_the_file_is_told_and_left_alone(cluster, perch, tmp_path):
    (tmp_path / "perch.yaml").write_text(f"{PERCH_YAML[:-2]}, policy: {{guardS: 60}}, version: 2}}\n")
    cluster.answers("True", "Rollout v2-1 has begun.", rollout="v2-1")
    said = perch("rollout", "start", *ON)[1]
    assert "perch.yaml is not what is in force: spec.policy.guardS differ" in said
    assert "kubectl --context prod apply -f perch.yaml" in said
    assert cluster.patches == [{"spec": {"version": 2}}]


def test_a_refusal_is_the_operators_sentence(cluster, perch):
    cluster.answers("False", "Version 2 is in quarantine: It failed.", "Refused")
    code, said = perch("rollout", "start", "--version", "2", *ON)
    assert (code, said) == (errors.RolloutError.exit_code, "perch: Version 2 is in quarantine: It failed.\n")


def test_a_wish_that_is_refused_is_taken_back(cluster, perch):
    cluster.serves(FRESH, version=7)
    cluster.answers("False", "ad-clicks has no version 9.", "Refused")
    perch("rollout", "start", "--version", "9", *ON)
    assert cluster.patches == [{"spec": {"version": 9}}, {"spec": {"version": 7}}]


def test_asking_for_the_champion_ends_another_wish(cluster, perch):
    cluster.serves(FRESH, version=7)
    code, said = perch("rollout", "start", "--version", "1", *ON)
    assert (code, cluster.patches) == (errors.RolloutError.exit_code, [{"spec": {"version": 1}}])
    assert "Version 1 is the champion already." in said


def test_an_older_refusal_is_no_answer(cluster, perch, monkeypatch):
    monkeypatch.setattr(client, "RELEASE_TIMEOUT_S", 0.5)
    cluster.serves(FRESH, ("False", "Version 2 is in quarantine."))
    cluster.write("operator.json", {})
    code, said = perch("rollout", "start", "--version", "3", *ON)
    assert code == errors.PlatformError.exit_code
    assert "No operator has answered within 0 s" in said
    assert "kubectl --context prod get pods" in said


def test_what_is_tried_again_is_said_to_be(cluster, perch):
    cluster.answers("False", "MLflow does not answer.", "TryingAgain")
    said = perch("rollout", "start", "--version", "2", *ON)[1]
    assert said == "perch: MLflow does not answer. The operator tries again until spec.version changes.\n"
    assert cluster.patches == [{"spec": {"version": 2}}]


def test_who_insists_says_so_in_the_same_change(cluster, perch):
    cluster.answers("True", "Rollout v2-2 has begun.", rollout="v2-2")
    assert perch("rollout", "start", "--version", "2", "--override", *ON)[0] == 0
    assert cluster.patches[0]["spec"] == {"version": 2}
    assert cluster.requests[0] | {"id": ""} == {"id": "", "verb": "retry", "override": True}


def test_a_version_that_is_wished_for_already_is_asked_for_again(cluster, perch, home):
    cluster.serves(home, ("True", "Rollout v2-1 has begun."), version=2)
    cluster.answers("True", "Rollout v2-2 has begun.", rollout="v2-2")
    assert perch("rollout", "start", "--version", "2", *ON)[0] == 0
    assert (cluster.patches[0].keys(), cluster.requests[0]["verb"]) == ({"metadata"}, "retry")


def test_a_retry_names_the_rollout_that_it_repeats(cluster, perch, home):
    cluster.serves(home, version=2)
    cluster.answers("True", "Rollout v2-2 has begun.", rollout="v2-2")
    said = perch("rollout", "retry", "--override", *ON)[1]
    assert said.startswith("Rollout v2-2 has begun, a retry of v2-1.")
    assert cluster.requests[0]["override"]


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        (("start", "--version", "1"), "Version 1 is the champion already."),
        (("retry",), "There is nothing to retry"),
        (("pause",), "No rollout is in progress, so there is nothing to pause."),
        (("rollback",), "No rollout is in progress, so there is nothing to roll back."),
    ],
)
def test_what_cannot_be_now_is_refused_before_anything_is_written(cluster, perch, verb, says):
    code, said = perch("rollout", *verb, *ON)
    assert code == errors.RolloutError.exit_code
    assert says in said
    assert cluster.patches == []


@pytest.mark.parametrize("verb", [("start", "--version", "3"), ("retry",)])
def test_a_second_rollout_waits_for_the_first(cluster, perch, underway, verb):
    cluster.serves(underway, version=2)
    code, said = perch("rollout", *verb, *ON)
    assert code == errors.RolloutError.exit_code
    assert "Rollout v2-1 is still in progress" in said
    assert cluster.patches == []


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "rollback"])
def test_a_command_is_a_request_that_the_operator_acknowledges(cluster, perch, underway, verb):
    cluster.serves(underway, ("False", "An older story."))
    cluster.write("operator.json", {"phase": "ramp"})
    code, said = perch("rollout", verb, *ON)
    assert (code, cluster.requests[0]["verb"]) == (0, verb)
    assert "perch rollout status --context prod" in said


def test_a_command_that_comes_too_late_is_the_operators_refusal(cluster, perch, underway):
    cluster.serves(underway)
    cluster.answers("False", "No rollout is in progress, so there is nothing to pause.", "Refused")
    code, said = perch("rollout", "pause", *ON)
    assert code == errors.RolloutError.exit_code
    assert "nothing to pause" in said


def test_a_command_that_nobody_takes_on_is_said_to_wait(cluster, perch, underway, monkeypatch):
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 0.3)
    cluster.serves(underway)
    code, said = perch("rollout", "promote", *ON)
    assert code == errors.PlatformError.exit_code
    assert "The wish stays on the object" in said


# --- what kubectl complains of --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("complaint", "says"),
    [
        ("Error in configuration: context was not found for specified context: prod", "has no context prod"),
        ("error: cannot locate context prod", "has no context prod"),
        ('error: the server doesn\'t have a resource type "modelservices"', "knows no ModelServices. Install Perch"),
        ("Error from server (Forbidden): pods is forbidden", "may not do that: pods is forbidden"),
        ("error: You must be logged in to the server (Unauthorized)", "does not know you. Log in"),
        ("Unable to connect to the server: dial tcp: i/o timeout", "does not answer"),
        ("E1121 memcache.go: timeout=32s\nThe connection to the server 1.2.3.4 was refused", "prod"),
        ("something else\nof note", "kubectl failed on context prod: of note"),
    ],
)
def test_what_kubectl_complains_of_is_one_sentence(cluster, perch, complaint, says):
    cluster.write("trouble", complaint)
    code, said = perch("status", *ON)
    assert code == errors.PlatformError.exit_code
    assert says in said
    assert said.startswith("perch: ")
    assert len(said.splitlines()) == 1


def test_a_service_that_is_not_there_is_named_with_its_namespace(cluster, perch):
    code, said = perch("status", *ON, "--service", "other", "-n", "shop")
    assert code == errors.PlatformError.exit_code
    assert "There is no modelservices.perch.dev other in namespace shop of context prod" in said


def test_without_kubectl_there_is_no_way_to_a_cluster(cluster, perch, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = perch("status", *ON)
    assert code == errors.PlatformError.exit_code
    assert "kubectl is not on the PATH" in said


# --- ledgers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(cluster, rollout):
    """The cluster, whose operator has recorded a rollout."""
    _, home, folder = rollout
    shutil.copytree(folder / "rollouts", cluster.home / "ledgers" / "shop" / "ads" / "rollouts")
    cluster.serves(home)
    cluster.runs_operator("--watch=elsewhere", namespace="theirs")
    cluster.runs_operator("--watch=shop", "--registry=http://mlflow.perch.svc:5000", namespace="ours")
    return cluster


def test_ledgers_come_from_the_operator_that_runs_the_namespace(recorded, perch):
    assert perch("why", *ON)[1].startswith("Rollout v2-1: version 2 asks to replace champion 1")
    assert [call[3] for call in recorded.calls if "exec" in call] == ["operator-ours"]
    assert "v2-1" in perch("rollout", "history", *ON)[1]
    assert perch("policy", "backtest", "v2-1", *ON)[1].startswith("Every decision the same")


def test_the_lineage_of_a_version_joins_the_operators_registry_and_its_ledgers(recorded, perch, tmp_path, monkeypatch):
    registry = MemoryRegistry()
    for number in (1, 2):
        register(registry, tmp_path, number)
    recorded.write("port", "4321")
    monkeypatch.setattr(reach, "MlflowRegistry", lambda url: registry)
    code, said = perch("lineage", "2", *ON)
    assert code == 0
    assert said.startswith("version     ad-clicks 2, logistic, digest ")
    assert "rollouts    v2-1, " in said


@pytest.mark.parametrize("name", ["v9-1", "../secrets", "--help-me", "v2-1/.."])
def test_an_unknown_rollout_is_a_usage_error(recorded, perch, name):
    code, said = perch("why", *ON, "--", name)
    assert code == errors.UsageError.exit_code
    assert "perch rollout history" in said


def test_without_a_rollout_the_history_is_empty_and_there_is_no_story(cluster, perch):
    (cluster.home / "ledgers" / "shop" / "ads").mkdir(parents=True)
    cluster.runs_operator()
    assert "Begin one with" in perch("rollout", "history", *ON)[1]
    assert perch("why", *ON)[0] == errors.UsageError.exit_code


def test_an_archive_that_points_elsewhere_is_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"../{tmp_path.name}-escaped"))
    with pytest.raises(errors.PlatformError, match="did not arrive whole"), reach._unpacked(packed.getvalue()):
        pass
    assert not (tmp_path.parent / f"{tmp_path.name}-escaped").exists()


def test_where_no_operator_runs_the_namespace_that_is_said(cluster, perch):
    cluster.runs_operator("--watch=elsewhere")
    code, said = perch("models", *ON)
    assert code == errors.PlatformError.exit_code
    assert "No operator runs the ModelServices of namespace shop" in said


# --- around the service ---------------------------------------------------------------------------------------------


@pytest.fixture
def process(cluster):
    """A serving process that the fake's forwarded ports lead to; what it was told."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.path, self.headers["authorization"], json.loads(body)))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        cluster.write("port", str(server.server_address[1]))
        token = base64.b64encode(b"a-token").decode()
        cluster.put("secrets", "faults", data={"token": token})
        yield heard
        server.shutdown()


def test_a_fault_is_switched_in_every_pod_of_the_canary(cluster, perch, process, underway):
    cluster.serves(underway, slo={"latencyP99Ms": 70})
    cluster.runs_version(2, "ads-v2-a", "ads-v2-b")
    cluster.runs_version(1, "ads-v1-a")
    code, said = perch("break", "latency", *ON)
    assert (code, process) == (0, [("/faults", "Bearer a-token", {"latency_ms": 70.0})] * 2)
    assert "version 2, in 2 processes" in said
    assert perch("break", "none", "--version", "1", *ON)[1] == "Mended: version 1, in 1 process.\n"
    assert process[2:] == [("/faults", "Bearer a-token", {})]


def test_nothing_is_broken_without_a_canary_a_pod_or_a_token(cluster, perch, process):
    assert "no canary to break" in perch("break", "errors", *ON)[1]
    assert "No pod of version 1 of ads runs" in perch("break", "errors", "--version", "1", *ON)[1]
    cluster.runs_version(1, "ads-v1-a", secret=None)
    assert "--set operator.faultTokenSecret=NAME" in perch("break", "errors", "--version", "1", *ON)[1]
    assert "Known: errors, latency" in perch("break", "everything", *ON)[1]
    assert process == []


@pytest.mark.parametrize(
    ("status", "protocol", "says"),
    [({}, "HTTP", "has no address yet"), ({"addresses": [{"value": "10.0.0.1"}]}, "HTTPS", "has no HTTP listener")],
)
def test_a_gateway_that_cannot_be_reached_asks_for_a_url(cluster, perch, status, protocol, says):
    spec = {"listeners": [{"protocol": protocol, "port": 80}]}
    cluster.put("gateways.gateway.networking.k8s.io", "kserve-ingress-gateway", "kserve", spec=spec, status=status)
    code, said = perch("loadtest", *ON)
    assert code == errors.PlatformError.exit_code
    assert says in said
    assert "--url" in said


@pytest.mark.parametrize(
    ("url", "used"),
    [("http://mlflow.perch.svc:5000", "http://127.0.0.1:4321"), ("https://models.example.com", None)],
)
def test_the_registry_is_the_operators_through_a_forwarded_port_where_it_is_inside(cluster, monkeypatch, url, used):
    from perch.adapters.cluster.kubectl import Kubectl

    opened = []
    monkeypatch.setattr(reach, "MlflowRegistry", opened.append)
    cluster.write("port", "4321")
    cluster.runs_operator(f"--registry={url}")
    with reach.registry(Kubectl("prod")):
        pass
    assert opened == [used or url]
    forwarded = [call for call in cluster.calls if "port-forward" in call]
    assert [call[3:5] for call in forwarded] == ([["svc/mlflow", ":5000"]] if used else [])
