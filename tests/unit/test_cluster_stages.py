"""Bringing a cluster up: what is run, in which order, and that nothing is written to a cluster that was not meant.

docker, kind, kubectl, helm and make are scripts here that keep what they are asked and answer from a table.
"""

import json
import stat

import pytest

from markdown_blocks import ROOT
from perch.cli.bring_up import chosen
from perch.errors import PlatformError, UsageError
from perch.install import footprint, proofs, stages
from perch.install.checkout import Checkout
from perch.install.commands import Cluster
from perch.install.perch_chart import PerchChart

CHECKOUT = Checkout(ROOT)
PERCH = PerchChart(CHECKOUT.perch_chart, "perch")
KIND = Cluster("kind-perch")
FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
asked = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
with (here / "asked").open("a") as log:
    log.write(asked + "\\n")
for part, answer, code in json.loads((here / "answers").read_text()):
    if part in asked:
        print(answer, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
"""


class Commands:
    """The fakes, what they answer and what they were asked."""

    def __init__(self, folder):
        self._folder = folder
        for name in ("docker", "kind", "kubectl", "helm", "make"):
            (folder / name).write_text(FAKE, encoding="utf-8")
            (folder / name).chmod(stat.S_IRWXU)
        self.answer()

    def answer(self, *answers):
        """Answer what contains a text with a text, or an object, and an exit code; the first that fits."""
        told = []
        for part, text, *code in answers:
            told.append((part, text if isinstance(text, str) else json.dumps(text), *(code or [0])))
        (self._folder / "answers").write_text(json.dumps(told), encoding="utf-8")
        (self._folder / "asked").write_text("", encoding="utf-8")

    @property
    def asked(self):
        return (self._folder / "asked").read_text(encoding="utf-8").splitlines()

    def writes(self):
        writing = (" upgrade ", " apply ", " create ", " delete ", " uninstall ", " label ", " annotate ", " load ")
        return [line for line in self.asked if any(word in f"{line} " for word in writing) and "dry-run" not in line]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return Commands(folder)


def ready(kind, status="True", **more):
    return {"status": {"conditions": [{"type": kind, "status": status, **more}]}}


def stage(**changes):
    facts = {"name": "part", "waits_for": "it", "proof": lambda _: "", "install": lambda _: None}
    return stages.Stage(**facts | changes)


def test_the_way_goes_from_the_node_to_perch():
    names = [one.name for one in stages.on_kind(CHECKOUT, PERCH)]
    assert names == ["kind", *CHECKOUT.releases("kind"), "images", "perch"]


def test_what_is_there_is_left_alone_and_proven_all_the_same():
    done, told = [], []
    there = stage(there=lambda _: True, install=lambda _: done.append("install"), proof=lambda _: done.append("proof"))
    timings = list(stages.go([there], KIND, told.append))
    assert done == ["proof"]
    assert not timings[0].installed
    assert told == ["part: is there; waiting for it"]


def test_a_part_that_is_not_proven_in_time_says_what_is_wanting(monkeypatch):
    monkeypatch.setattr(stages, "_ASK_AGAIN_S", 0.01)
    with pytest.raises(PlatformError, match=r"part: waited 0\.05 s for it, and still: no address"):
        list(stages.go([stage(proof=lambda _: "no address", within_s=0.05)], KIND, print))


def test_nothing_follows_a_part_that_failed(commands):
    commands.answer(("helm", "Error: chart not found", 1))
    with pytest.raises(PlatformError, match="chart not found"):
        list(stages.go(stages.on_kind(CHECKOUT, PERCH)[1:], KIND, print))
    assert not any("kserve" in line for line in commands.asked)


def test_kind_makes_the_node_that_is_pinned(commands):
    commands.answer(("get clusters", ""), ("config view", "", 1))
    make = stages.on_kind(CHECKOUT, PERCH)[0]
    assert not make.there(KIND)
    with pytest.raises(PlatformError, match="leads to nowhere"):
        make.install(KIND)
    made = next(line for line in commands.asked if "create cluster" in line)
    assert f"--image {CHECKOUT.node_image}" in made
    assert f"--config {ROOT / 'deploy' / 'kind.yaml'}" in made


def test_a_context_of_kinds_name_that_leads_elsewhere_is_not_written_to(commands):
    commands.answer(("get clusters", "perch"), ("config view", "https://prod.example.com:6443"))
    with pytest.raises(PlatformError, match=r"leads to https://prod\.example\.com"):
        list(stages.go(stages.on_kind(CHECKOUT, PERCH), KIND, print))
    assert commands.writes() == []


def test_kind_does_not_overwrite_a_context_that_is_not_its_own(commands):
    commands.answer(("get clusters", ""), ("config view", "https://prod.example.com:6443"))
    with pytest.raises(PlatformError, match="rename-context kind-perch"):
        list(stages.go(stages.on_kind(CHECKOUT, PERCH), KIND, print))
    assert commands.writes() == []


def test_every_command_names_its_cluster(commands):
    commands.answer(("list", ""), ("get ", {"items": []}))
    PERCH.install(Cluster("shop"))
    spoken = [line for line in commands.asked if line.startswith(("kubectl", "helm"))]
    assert spoken
    assert all("--context shop" in line or "--kube-context shop" in line for line in spoken)


def test_a_chart_is_installed_as_the_checkout_says(commands):
    gateway = CHECKOUT.releases("kind")["gateway"]
    stages.install(gateway, KIND)
    (asked,) = commands.asked
    assert asked.startswith(f"helm --kube-context kind-perch upgrade --install gateway {ROOT / 'deploy' / 'gateway'} ")
    assert asked.endswith(f"--values {gateway.values[0]} --values {gateway.values[1]}")


def test_a_chart_of_another_version_is_not_taken_for_the_one_that_is_wanted(commands):
    kserve = CHECKOUT.releases("kind")["kserve"]
    line = "kserve\tkserve\t1\t2026-01-01\tdeployed\tkserve-resources-{}\t"
    commands.answer(("list", line.format("v0.19.0")))
    assert not stages.is_deployed(kserve, KIND)
    commands.answer(("list", line.format(kserve.version)))
    assert stages.is_deployed(kserve, KIND)


def test_images_are_built_and_brought_to_the_node(commands):
    images = stages.on_kind(CHECKOUT, PERCH)[-2]
    images.install(KIND)
    assert commands.asked == [
        f"make --directory {ROOT} images",
        f"kind load docker-image {' '.join(CHECKOUT.images)} --name perch",
    ]
    listed = [{"repoTags": [f"docker.io/library/{CHECKOUT.images[0]}"]}]
    commands.answer(("crictl", {"images": listed}))
    assert images.proof(KIND) == f"the node lacks {', '.join(CHECKOUT.images[1:])}"


def test_a_namespace_that_perch_makes_admits_restricted_pods_alone(commands):
    commands.answer(("get namespace", ""))
    PERCH.install(KIND)
    assert any("label namespace perch pod-security.kubernetes.io/enforce=restricted" in one for one in commands.asked)


def test_definitions_are_renewed_before_the_chart_that_helm_would_not_renew_them_with(commands):
    commands.answer(("get namespace", {"kind": "Namespace"}))
    PERCH.install(KIND)
    crds, chart = commands.writes()
    assert f"apply --server-side --force-conflicts -f {CHECKOUT.perch_chart / 'crds'}" in crds
    assert "--skip-crds" in chart


def test_services_go_before_the_operator_that_has_to_let_go_of_them(commands):
    commands.answer(("get values", {"operator": {"watch": []}}), ("get crd", {"kind": "x"}), ("get ", {"items": []}))
    PERCH.remove(KIND, print)
    order = [line.split(maxsplit=3)[3] for line in commands.writes()]
    assert [one.split()[1 if one.startswith("delete") else 0] for one in order] == ["modelservices", "uninstall", "crd"]


def test_services_that_do_not_go_keep_everything_else(commands):
    commands.answer(
        ("get values", {"operator": {"watch": ["shop"]}}), ("get crd", {"kind": "x"}), ("delete", "timed out", 1)
    )
    with pytest.raises(PlatformError, match=r"did not go.*logs deployment/perch-operator"):
        PERCH.remove(KIND, print)
    assert not any("uninstall" in line for line in commands.asked)


def test_an_installation_of_one_namespace_leaves_the_definition_and_other_services(commands):
    commands.answer(("get values", {"operator": {"watch": ["shop"]}}), ("get crd", {"kind": "x"}))
    PERCH.remove(KIND, print)
    assert any("delete modelservices --all --namespace shop" in line for line in commands.asked)
    assert not any("delete crd" in line for line in commands.asked)


def test_a_namespace_that_somebody_else_made_stays(commands):
    commands.answer(("get values", {"operator": {"watch": []}}), ("get namespace", {"metadata": {}}))
    PERCH.remove(KIND, print)
    assert not any("delete namespace" in line for line in commands.asked)


def test_the_gateway_is_proven_by_a_route_that_it_takes(commands):
    taken = {"status": {"parents": [ready("Accepted")["status"]]}}
    commands.answer(("get gateway", ready("Programmed")), ("get httproute", taken))
    assert proofs.gateway(KIND) == ""
    assert any("delete httproute perch-probe" in line for line in commands.asked)


def test_a_gateway_without_an_address_is_not_proven(commands):
    commands.answer(("get gateway", ready("Programmed", "False", message="no addresses")))
    assert proofs.gateway(KIND) == "no addresses"
    assert commands.writes() == []


def test_a_webhook_that_is_dead_is_not_proven(commands):
    commands.answer(("dry-run=server", "failed calling webhook: connection refused", 1))
    assert "connection refused" in proofs.kserve(KIND)


def test_an_operator_without_the_lease_is_not_proven(commands):
    deployment = {"metadata": {"name": "perch-operator"}, **ready("Available")}
    commands.answer(("get deployments", {"items": [deployment]}), ("get lease", ""))
    assert proofs.perch_in("perch")(KIND) == "no operator holds the lease yet"
    commands.answer(("get deployments", {"items": [deployment]}), ("get lease", {"spec": {"holderIdentity": "pod"}}))
    assert proofs.perch_in("perch")(KIND) == ""


def test_yes_without_a_context_is_refused(commands):
    with pytest.raises(UsageError, match="--context"):
        chosen(None, existing=True, yes=True)
    commands.answer(("config view", "", 1))
    with pytest.raises(PlatformError, match="no kube context 'nope'"):
        chosen("nope", existing=False, yes=True)
    assert chosen(None, existing=False, yes=True) is None


def test_processors_are_a_mean_over_the_window(monkeypatch):
    uses = iter([{"perch": footprint.Use(1, 10.0, 5, 0)}, {"perch": footprint.Use(1, 11.0, 2**30, 2**30)}])
    monkeypatch.setattr(footprint, "_uses", lambda *_: next(uses))
    monkeypatch.setattr(footprint, "_images_bytes", lambda _: 2_500_000_000)
    found = footprint.measure(KIND, ["perch"], window_s=0.1)
    assert found.cpus["perch"] == pytest.approx(10, rel=0.3)
    text = footprint.table(found, [("perch", 0.5)])
    assert "1024 MiB | 1 GiB" in text
    assert "2.5 GB" in text
    assert "together 0.5" in text
