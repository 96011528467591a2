"""The doctor's judgement: from facts alone, with a command for whatever can be mended."""

from dataclasses import replace

import pytest

from markdown_blocks import ROOT
from perch.install import look
from perch.install.checkout import Checkout
from perch.install.finding import Verdict, numbers
from perch.install.inside import Inside, of_cluster
from perch.install.machine import GIB, Docker, Machine, of_machine

CHECKOUT = Checkout(ROOT)
PINS = CHECKOUT.pins
MENDS = {name: release.command("shop") for name, release in CHECKOUT.releases("existing").items()}
GOOD = Machine(
    docker=Docker("28.0.0", 4, 8 * GIB, "amd64"),
    docker_says="",
    disk_bytes=40 * GIB,
    inotify=(524_288, 512),
    tools={"docker": "28.0.0", "kind": "0.33.0", "kubectl": "1.35.4", "helm": "3.20.2", "terraform": "1.11.4"},
    images=dict.fromkeys(CHECKOUT.images, "amd64"),
    taken_ports=(),
)
INSIDE = Inside(
    context="shop",
    version="1.35.4",
    api_says="",
    storage_class="standard",
    gateway_api="1.5.1",
    gateway_wants="",
    kserve=("v1beta1",),
    kserve_mode="Standard",
    kserve_wants="",
    argo=("v1alpha1",),
    perch=("v1alpha1",),
    operators=("perch",),
)


def judged(facts):
    found = of_machine(facts, PINS) if isinstance(facts, Machine) else of_cluster(facts, PINS, MENDS)
    return {finding.subject: finding for finding in found}


@pytest.mark.parametrize("facts", [GOOD, INSIDE], ids=["machine", "cluster"])
def test_what_is_good_stops_nobody_and_has_nothing_to_mend(facts):
    for finding in judged(facts).values():
        assert finding.verdict is Verdict.OK
        assert not finding.mend
        assert not finding.stops


@pytest.mark.parametrize(
    ("change", "subject", "figure"),
    [
        ({"docker": Docker("28.0.0", 4, 4 * GIB, "amd64")}, "memory", "4.0 GiB"),
        ({"disk_bytes": 3 * GIB}, "disk", "3.0 GiB"),
        ({"inotify": (8_192, 128)}, "inotify", "8192"),
        ({"taken_ports": (8180,)}, "ports", "8180"),
        ({"images": {"perch-serving:0.1.0": "arm64"}}, "images", "arm64"),
        ({"tools": GOOD.tools | {"kind": "0.30.0"}}, "kind", "0.30.0"),
        ({"tools": GOOD.tools | {"kubectl": "1.33.9"}}, "kubectl", "1.33.9"),
        ({"tools": GOOD.tools | {"helm": "4.0.1"}}, "helm", "4.0.1"),
    ],
)
def test_a_machine_that_cannot_carry_a_cluster_is_told_the_figure(change, subject, figure):
    findings = judged(replace(GOOD, **change))
    assert [name for name, finding in findings.items() if finding.stops] == [subject]
    assert figure in findings[subject].told
    assert findings[subject].mend or subject == "memory"


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"version": "1.31.9"}, "api server"),
        ({"storage_class": ""}, "storage"),
        ({"gateway_api": ""}, "gateway api"),
        ({"gateway_api": "1.2.1"}, "gateway api"),
        ({"gateway_wants": "no addresses"}, "gateway"),
        ({"kserve": ()}, "kserve"),
        ({"kserve": ("v1alpha1",)}, "kserve"),
        ({"kserve_wants": "connection refused"}, "kserve webhook"),
        ({"perch": ("v1",)}, "modelservices"),
    ],
)
def test_a_cluster_that_cannot_carry_perch_is_told_the_one_command(change, subject):
    findings = judged(replace(INSIDE, **change))
    assert [name for name, finding in findings.items() if finding.stops] == [subject]
    assert "\n" not in findings[subject].mend
    assert findings[subject].mend
    assert "shop" in findings[subject].mend or subject == "api server"


def test_what_perch_itself_brings_is_missing_and_stops_nobody():
    findings = judged(replace(INSIDE, perch=(), operators=(), argo=()))
    assert {name for name, finding in findings.items() if finding.verdict is Verdict.MISSING} == {
        "modelservices", "operator", "argo"
    }  # fmt: skip
    assert not any(finding.stops for finding in findings.values())


def test_without_docker_it_says_what_that_costs_and_looks_on():
    tools = {name: version for name, version in GOOD.tools.items() if name != "docker"}
    findings = judged(replace(GOOD, docker=None, docker_says="docker is not on the PATH", images={}, tools=tools))
    assert findings["docker"].verdict is Verdict.MISSING
    assert "the local platform and other clusters do without" in findings["docker"].told
    assert findings["docker"].stops
    assert findings["kubectl"].verdict is Verdict.OK


def test_a_docker_that_does_not_answer_is_wrong_rather_than_missing():
    finding = judged(replace(GOOD, docker=None, docker_says="permission denied", images={}))["docker"]
    assert finding.verdict is Verdict.WRONG
    assert "permission denied" in finding.told


def test_images_that_are_not_built_yet_stop_nobody():
    finding = judged(replace(GOOD, images={"perch-serving:0.1.0": ""}))["images"]
    assert finding.mend == "make images"
    assert not finding.stops


def test_a_cluster_that_does_not_answer_is_asked_nothing_more():
    facts = Inside("shop", "", "connection refused")
    assert list(judged(facts)) == ["api server"]


def test_versions_are_compared_as_numbers():
    assert numbers("v1.35.4+k3s1") == (1, 35, 4)
    assert numbers("1.10.0") > numbers("1.9.9")
    assert numbers("20.10.24+dfsg1") == (20, 10, 24)


def test_it_works_where_there_is_nothing_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = look.at_machine(CHECKOUT)
    assert machine.docker is None
    assert dict(machine.tools) == {}
    assert {finding.subject for finding in of_machine(machine, PINS) if finding.stops} >= {"docker", "kind", "helm"}
    assert look.into("nowhere").version == ""
