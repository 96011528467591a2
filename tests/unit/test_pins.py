"""One definition of what a cluster is made of, read by everybody."""

import re
from pathlib import Path

import pytest
import yaml

from markdown_blocks import ROOT
from perch.errors import PlatformError
from perch.install import checkout as module
from perch.install.checkout import Checkout

CHECKOUT = Checkout(ROOT)
RELEASES = CHECKOUT.releases("kind")

every_release = pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.name)


def test_pins_are_read_as_make_reads_them():
    assert CHECKOUT.pins["PYTHON_IMAGE"] == "python:3.12-slim"
    assert all(re.fullmatch(r"[A-Z_]+", name) and value for name, value in CHECKOUT.pins.items())


def test_the_node_is_taken_by_its_digest_and_of_the_tested_minor_version():
    tested = CHECKOUT.pins["KUBERNETES_VERSION"].rpartition(".")[0]
    assert re.fullmatch(rf"kindest/node:v{re.escape(tested)}\.\d+@sha256:[0-9a-f]{{64}}", CHECKOUT.node_image)


@every_release
def test_a_chart_from_outside_has_a_pinned_version(release):
    if release.repository:
        assert release.version.removeprefix("v") in CHECKOUT.pins.values()
        assert release.version in release.source
    else:
        assert Path(release.chart).is_dir()


@every_release
def test_its_settings_are_files_that_can_be_read(release):
    for file in release.values:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


def test_every_file_of_settings_belongs_to_a_chart():
    used = {file for flavour in ("kind", "cloud") for one in CHECKOUT.releases(flavour).values() for file in one.values}
    assert used == set((ROOT / "deploy" / "values").glob("*.yaml"))


def test_settings_for_kind_come_after_those_for_everybody():
    assert [file.stem for file in RELEASES["gateway"].values] == ["gateway", "gateway-kind"]
    assert [file.stem for file in CHECKOUT.releases("existing")["gateway"].values] == ["gateway"]


def test_helm_is_told_of_a_chart_as_its_repository_needs_it():
    assert RELEASES["kserve"].source == ("oci://ghcr.io/kserve/charts/kserve-resources", "--version", "v0.20.0")
    assert RELEASES["cert-manager"].source[:2] == ("cert-manager", "--repo")


def test_the_gateways_port_on_the_node_is_the_one_that_kind_maps():
    settings = yaml.safe_load((ROOT / "deploy" / "values" / "gateway-kind.yaml").read_text(encoding="utf-8"))
    mapped = CHECKOUT.kind["nodes"][0]["extraPortMappings"][0]
    assert settings["service"]["nodePort"] == mapped["containerPort"]
    assert mapped["listenAddress"] == "127.0.0.1"
    assert CHECKOUT.host_ports == (mapped["hostPort"],)


def test_images_are_named_as_make_tags_them():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert CHECKOUT.images == tuple(f"perch-{name}:{version}" for name in ("mlflow", "operator", "serving", "training"))


def test_without_a_source_tree_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "lib" / "perch" / "install" / "checkout.py"))
    with pytest.raises(PlatformError, match="source tree"):
        Checkout.find()
