"""Perch's own chart in a cluster: in, and out again without a trace."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perch.errors import PlatformError
from perch.install.commands import Cluster

_OURS = "perch.dev/made-by"
_CRD = "modelservices.perch.dev"
_GOES_S = 180.0


@dataclass(frozen=True)
class PerchChart:
    """One installation of Perch."""

    chart: Path
    namespace: str
    settings: tuple[str, ...] = ()
    """Values of the chart, each as `helm --set` takes it."""
    name: str = "perch"

    def install(self, cluster: Cluster) -> None:
        """Install it, or change it to what the checkout says; definitions first, which helm never renews."""
        if not cluster.get("namespace", self.namespace):
            cluster.must_kubectl("create", "namespace", self.namespace)
            cluster.must_kubectl("annotate", "namespace", self.namespace, f"{_OURS}=cluster-up")
            restricted = "pod-security.kubernetes.io/enforce=restricted"
            cluster.must_kubectl("label", "namespace", self.namespace, restricted)
        cluster.must_kubectl("apply", "--server-side", "--force-conflicts", "-f", str(self.chart / "crds"))
        values = (word for setting in self.settings for word in ("--set", setting))
        where = ("--namespace", self.namespace, "--skip-crds", "--wait", "--timeout", "5m")
        try:
            cluster.must_helm("upgrade", "--install", self.name, str(self.chart), *where, *values)
        except PlatformError as error:
            waiting = "; ".join(self._waiting(cluster))
            raise PlatformError(f"{error} Of its pods, {waiting}." if waiting else str(error)) from error

    def _waiting(self, cluster: Cluster) -> Iterator[str]:
        """Which containers do not run, and why, as the kubelet tells it."""
        for pod in cluster.items("pods", "--namespace", self.namespace):
            for container in pod["status"].get("containerStatuses", []):
                if waiting := container["state"].get("waiting"):
                    yield f"{pod['metadata']['name']} waits with {waiting['reason']} ({container['image']})"

    def is_there(self, cluster: Cluster) -> bool:
        """Whether helm knows it."""
        return bool(
            cluster.must_helm("list", "--namespace", self.namespace, "--filter", f"^{self.name}$", "--short").strip()
        )

    def remove(self, cluster: Cluster, tell: Callable[[str], None]) -> None:
        """Take it out with what it made: services first, while the operator can still let go of them.

        Raises:
            PlatformError: A ModelService did not go; nothing else was touched then.
        """
        watched = self.watched(cluster)
        for namespace in watched or [""]:
            tell(f"waiting for ModelServices to go {f'in {namespace}' if namespace else 'everywhere'}")
            self._remove_services(cluster, ("--namespace", namespace) if namespace else ("--all-namespaces",))
        tell("waiting for the chart's objects to go")
        cluster.must_helm("uninstall", self.name, "--namespace", self.namespace, "--wait", "--ignore-not-found")
        self._remove_definition(cluster, confined=bool(watched), tell=tell)
        notes = cluster.get("namespace", self.namespace).get("metadata", {}).get("annotations", {})
        if _OURS in notes:
            tell(f"waiting for the namespace {self.namespace} to go, with its volumes")
            cluster.must_kubectl("delete", "namespace", self.namespace, timeout_s=_GOES_S)

    def watched(self, cluster: Cluster) -> list[str]:
        """Namespaces whose services this installation runs; none means all."""
        words = ("get", "values", self.name, "--namespace", self.namespace, "--all", "--output", "json")
        listed: list[str] = json.loads(cluster.must_helm(*words))["operator"]["watch"]
        return listed

    def _remove_services(self, cluster: Cluster, where: tuple[str, ...]) -> None:
        if not cluster.get("crd", _CRD):
            return
        words = ("delete", "modelservices", "--all", *where, f"--timeout={_GOES_S:g}s")
        done = cluster.kubectl(*words, timeout_s=_GOES_S + 10)
        if not done.ok:
            logs = f"kubectl --context {cluster.context} -n {self.namespace} logs deployment/{self.name}-operator"
            raise PlatformError(
                f"ModelServices did not go within {_GOES_S:g} s: {done.complaint}. Their operator has to let go; "
                f"`{logs}` tells what it does."
            )

    def _remove_definition(self, cluster: Cluster, *, confined: bool, tell: Callable[[str], None]) -> None:
        label = ("--all-namespaces", "-l", "app.kubernetes.io/name=perch-operator")
        if confined or cluster.items("pods", *label):
            tell(f"left {_CRD}: other installations may use it")
        elif cluster.get("crd", _CRD):
            cluster.must_kubectl("delete", "crd", _CRD)
