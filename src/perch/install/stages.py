"""The way from a machine to a cluster with Perch in it: stages, each with what proves it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

from perch.errors import PlatformError
from perch.install import proofs
from perch.install.checkout import Checkout, Release
from perch.install.commands import Cluster, must, run, server_of
from perch.install.perch_chart import PerchChart

_BUILD_S = 1_800.0
_ASK_AGAIN_S = 2.0


@dataclass(frozen=True)
class Stage:
    """One part of the way."""

    name: str
    waits_for: str
    """What proves it, in words."""
    proof: proofs.Proof
    install: Callable[[Cluster], object]
    there: Callable[[Cluster], bool] = lambda _: False
    """Whether it is there already, so that `install` is left out. Proven it is all the same."""
    within_s: float = 300.0
    """How long the proof may take."""


@dataclass(frozen=True)
class Timing:
    """How long a stage took."""

    stage: str
    seconds: float
    installed: bool
    """False: it was there already."""


def on_kind(checkout: Checkout, perch: PerchChart) -> list[Stage]:
    """From nothing to a kind cluster with everything in it."""
    releases = checkout.releases("kind")
    name = checkout.kind["name"]
    node = f"{name}-control-plane"
    bundle = partial(proofs.gateway_api, wanted=checkout.pins["GATEWAY_API_VERSION"])
    admits, works = "its webhook to admit an object", "its controller to finish a workflow"
    return [
        Stage("kind", "every node to be ready", proofs.nodes, partial(_make_kind, checkout), _kind_is_there(name)),
        _chart_stage(releases["cert-manager"], admits, proofs.cert_manager),
        _chart_stage(releases["envoy-gateway"], "the Gateway API to be served", bundle),
        _chart_stage(releases["gateway"], "the Gateway to take a route from another namespace", proofs.gateway),
        _chart_stage(releases["kserve-crd"], "its definitions to be stored", lambda _: ""),
        _chart_stage(releases["kserve"], admits, proofs.kserve),
        _chart_stage(releases["argo-workflows"], works, proofs.argo),
        _chart_stage(releases["prometheus"], "a query to be answered", proofs.prometheus),
        Stage(
            "images",
            "the node to have Perch's images",
            proofs.images_on(node, checkout.images),
            partial(_load_images, checkout),
        ),
        *on_existing(perch),
    ]


def on_existing(perch: PerchChart) -> list[Stage]:
    """Perch alone, into a cluster that somebody else looks after."""
    waits_for = "the API server to know ModelServices, and the operator to hold its lease"
    return [Stage("perch", waits_for, proofs.perch_in(perch.namespace), perch.install)]


def go(stages: Iterable[Stage], cluster: Cluster, tell: Callable[[str], None]) -> Iterator[Timing]:
    """Take each stage and wait for its proof; yield how long it took.

    Raises:
        PlatformError: A stage failed, or was not proven in time. What stands is left: going again goes on there.
    """
    for stage in stages:
        began_s = time.monotonic()
        there = stage.there(cluster)
        tell(f"{stage.name}: {'is there' if there else 'installing'}; waiting for {stage.waits_for}")
        if not there:
            stage.install(cluster)
        _await(stage, cluster)
        yield Timing(stage.name, time.monotonic() - began_s, not there)


def _await(stage: Stage, cluster: Cluster) -> None:
    alarm_s = time.monotonic() + stage.within_s
    while wanting := stage.proof(cluster):
        if time.monotonic() > alarm_s:
            raise PlatformError(
                f"{stage.name}: waited {stage.within_s:g} s for {stage.waits_for}, and still: {wanting}. "
                f"`perch doctor --context {cluster.context}` says what else is wrong; then run the same command again."
            )
        time.sleep(_ASK_AGAIN_S)


def _chart_stage(release: Release, waits_for: str, proof: proofs.Proof) -> Stage:
    return Stage(release.name, waits_for, proof, partial(install, release), partial(is_deployed, release))


def is_deployed(release: Release, cluster: Cluster) -> bool:
    """Whether helm has deployed this version of the chart."""
    words = ("list", "--namespace", release.namespace, "--filter", f"^{release.name}$", "--deployed", "--no-headers")
    return release.title in cluster.must_helm(*words).split()


def install(release: Release, cluster: Cluster) -> None:
    """Install a chart, or change it to what the checkout says."""
    cluster.must_helm(*release.upgrade)


# --- what only kind has ---------------------------------------------------------------------------------------------


def _kind_is_there(name: str) -> Callable[[Cluster], bool]:
    def there(cluster: Cluster) -> bool:
        found = name in must("kind", "get", "clusters").split()
        if found:
            check_is_local(cluster)
        return found

    return there


def _make_kind(checkout: Checkout, cluster: Cluster) -> None:
    if server_of(cluster.context):
        raise PlatformError(
            f"There is a kube context {cluster.context} that is none of kind's, so nothing was written. Rename it: "
            f"kubectl config rename-context {cluster.context} NEW-NAME"
        )
    words = ("--config", str(checkout.kind_file), "--image", checkout.node_image, "--wait", "120s")
    must("kind", "create", "cluster", *words, timeout_s=600.0)
    check_is_local(cluster)


def check_is_local(cluster: Cluster) -> None:
    """Raise `PlatformError` unless the context leads to this machine, as kind's do."""
    server = server_of(cluster.context)
    host = urlsplit(server).hostname or ""
    if not (host == "localhost" or (host.replace(".", "").isdigit() and ip_address(host).is_loopback)):
        raise PlatformError(
            f"The kube context {cluster.context} leads to {server or 'nowhere'}, not to a kind cluster here, "
            "so nothing was written. `kind export kubeconfig --name perch` mends the context."
        )


def _load_images(checkout: Checkout, _: Cluster) -> None:
    must("make", "--directory", str(checkout.root), "images", timeout_s=_BUILD_S)
    must("kind", "load", "docker-image", *checkout.images, "--name", checkout.kind["name"], timeout_s=600.0)


def delete_kind(checkout: Checkout) -> bool:
    """Delete the kind cluster with all that is in it; False when there was none."""
    name = checkout.kind["name"]
    if name not in run("kind", "get", "clusters").out.split():
        return False
    must("kind", "delete", "cluster", "--name", name, timeout_s=120.0)
    return True
