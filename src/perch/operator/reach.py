"""Where a person gets at what stands around a ModelService: ledgers, registry, fault switches, and the route.

Which operator runs a namespace, and which registry that one uses, is read from the operator's own command line: there
may be several in a cluster.
"""

import base64
import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

from perch.adapters.cluster.kubectl import Kubectl, Manifest, MissingError
from perch.adapters.cluster.objects import SERVICE_LABEL, VERSION_LABEL
from perch.adapters.events.client import EventsClient
from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.fleet.kserve_resources import PORT
from perch.adapters.fleet.switch import RemoteSwitch
from perch.adapters.labels.collector_resources import CONTROL_KEY, FEEDBACK_KEY, JUDGE_KEY, collector_name
from perch.adapters.labels.collector_resources import PORT as COLLECTOR_PORT
from perch.adapters.registry.mlflow import MlflowRegistry
from perch.errors import PlatformError, UsageError
from perch.operator.snapshot import Snapshot
from perch.rollout.history import ledger_file

OPERATOR: Final = {"app.kubernetes.io/name": "perch-operator"}
LEDGERS: Final = "/var/lib/perch"
"""Folder of the ledgers, in the operator's pod."""

_ROLLOUT: Final = re.compile(r"v\d+-\d+")
_IN_CLUSTER: Final = re.compile(r"(?P<service>[^.]+)\.(?P<namespace>[^.]+)\.svc(\..*)?")
# A ledger that grows while it is read is cut at its end (1), which whoever reads it expects.
_PACK: Final = 'tar -C "$1" -czf - "$2" || [ $? -eq 1 ]'


@contextmanager
def ledgers(kubectl: Kubectl, service: str) -> Iterator[Path]:
    """The recorded rollouts of a service, copied from its operator's pod into a folder that lasts as long.

    Raises:
        PlatformError: they cannot be fetched.
    """
    try:
        packed = _packed(kubectl, service, "rollouts")
    except _NoSuchFileError:
        packed = b""
    with _unpacked(packed) as folder:
        yield folder


@contextmanager
def ledger(kubectl: Kubectl, service: str, name: str) -> Iterator[Path]:
    """The ledger of one rollout, as `ledgers`; raises `UsageError`, too, when there is no such rollout."""
    try:
        packed = _packed(kubectl, service, f"rollouts/{name}") if _ROLLOUT.fullmatch(name) else b""
    except _NoSuchFileError:
        packed = b""
    if not packed:
        raise UsageError(f"There is no rollout {name} of {service}. `perch rollout history` lists those there are.")
    with _unpacked(packed) as folder:
        yield ledger_file(folder, name)


@contextmanager
def registry(kubectl: Kubectl) -> Iterator[MlflowRegistry]:
    """The registry of the operator that runs the namespace, for as long.

    Raises:
        PlatformError: there is no operator, or no way to its registry.
    """
    url = _argument(operator_pod(kubectl), "--registry")
    inside = _IN_CLUSTER.fullmatch(urlsplit(url).hostname or "")
    if inside is None:
        yield MlflowRegistry(url)
        return
    with kubectl.forward(f"svc/{inside['service']}", urlsplit(url).port or 80, namespace=inside["namespace"]) as near:
        yield MlflowRegistry(near)


@contextmanager
def switches(kubectl: Kubectl, service: str, version: int) -> Iterator[list[RemoteSwitch]]:
    """The fault switches of all pods of a version, for as long.

    Raises:
        PlatformError: no pod of it runs, or its faults cannot be switched.
    """
    pods = [pod for pod in kubectl.find("pods", {SERVICE_LABEL: service, VERSION_LABEL: str(version)}) if _runs(pod)]
    if not pods:
        raise PlatformError(f"No pod of version {version} of {service} runs, so there is nothing to break.")
    token = _fault_token(kubectl, pods[0])
    with ExitStack() as stack:
        yield [
            RemoteSwitch(
                stack.enter_context(
                    kubectl.forward(f"pod/{pod['metadata']['name']}", PORT, namespace=pod["metadata"]["namespace"])
                ),
                token,
            )
            for pod in pods
        ]


def route_url(kubectl: Kubectl, now: Snapshot) -> str:
    """Address of the Gateway that a service's route hangs on.

    Raises:
        PlatformError: there is no such Gateway, or it has no address or no plain HTTP listener.
    """
    namespace, _, name = now.declaration.spec.cluster.gateway.partition("/")
    gateway = kubectl.get("gateways.gateway.networking.k8s.io", name, namespace=namespace)
    addresses = [one["value"] for one in (gateway.get("status") or {}).get("addresses") or []]
    ports = [one["port"] for one in gateway["spec"]["listeners"] if one["protocol"] == "HTTP"]
    if not (addresses and ports):
        lacks = "no HTTP listener" if addresses else "no address yet"
        raise PlatformError(f"Gateway {namespace}/{name} has {lacks}. Name one that leads to it with --url.")
    return f"http://{addresses[0]}:{ports[0]}"


def feedback_token(kubectl: Kubectl, service: str) -> str | None:
    """What opens a service's route for outcomes; `None` where nobody collects them."""
    try:
        return _token(kubectl, collector_name(service), FEEDBACK_KEY)
    except MissingError:
        return None


@contextmanager
def events(kubectl: Kubectl, service: str) -> Iterator[EventsClient]:
    """A service's collector, for as long, opened for exports and deletion.

    Raises:
        PlatformError: nobody collects events there, or there is no way to the collector.
    """
    with _collector(kubectl, service, CONTROL_KEY) as (near, token), EventsClient(near, token) as client:
        yield client


@contextmanager
def inspecting(kubectl: Kubectl, service: str) -> Iterator[InspectingClient]:
    """A service's collector, for as long, opened for samples of its requests; raises as `events` does."""
    with _collector(kubectl, service, JUDGE_KEY) as (near, token), InspectingClient(near, token) as client:
        yield client


@contextmanager
def _collector(kubectl: Kubectl, service: str, key: str) -> Iterator[tuple[str, str]]:
    """Address of a service's collector, for as long, and one of its tokens."""
    name = collector_name(service)
    try:
        token = _token(kubectl, name, key)
    except MissingError:
        raise PlatformError(f"Nobody collects events of {service}, so there are none.") from None
    except KeyError:
        raise PlatformError(
            f"The Secret {name} is of an older Perch and has no {key}. Add one to its stringData, with "
            f"kubectl edit secret {name}, and restart the collector."
        ) from None
    with kubectl.forward(f"svc/{name}", COLLECTOR_PORT, namespace=kubectl.namespace) as near:
        yield near, token


def operator_pod(kubectl: Kubectl) -> Manifest:
    """The pod of the operator that runs the namespace; raises `PlatformError` when there is none."""
    pods = kubectl.find("pods", OPERATOR, everywhere=True)
    for pod in filter(_runs, pods):
        watched = _arguments(pod, "--watch")
        if not watched or kubectl.namespace in watched:
            return pod
    raise PlatformError(
        f"No operator runs the ModelServices of namespace {kubectl.namespace}. Install one with the chart charts/perch,"
        " or name another namespace with --namespace."
    )


class _NoSuchFileError(PlatformError):
    """The operator has no such file."""


def _packed(kubectl: Kubectl, service: str, path: str) -> bytes:
    pod = operator_pod(kubectl)["metadata"]
    home = f"{LEDGERS}/{kubectl.namespace}/{service}"
    try:
        return kubectl.execute(pod["name"], "sh", "-c", _PACK, "sh", home, path, namespace=pod["namespace"])
    except PlatformError as error:
        raise (_NoSuchFileError(str(error)) if "No such file" in str(error) else error) from None


@contextmanager
def _unpacked(packed: bytes) -> Iterator[Path]:
    with TemporaryDirectory(prefix="perch-") as folder:
        try:
            if packed:
                with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                    archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise PlatformError(f"The ledgers did not arrive whole: {error}. Try again.") from None
        yield Path(folder)


def _fault_token(kubectl: Kubectl, pod: Manifest) -> str:
    secret = next((one["secret"]["secretName"] for one in pod["spec"]["volumes"] if one["name"] == "token"), None)
    if secret is None:
        raise PlatformError(
            "Faults cannot be switched there. Make a Secret with a `token` in the service's namespace, and install the "
            "chart with --set operator.faultTokenSecret=NAME."
        )
    return _token(kubectl, secret, "token")


def _token(kubectl: Kubectl, secret: str, key: str) -> str:
    return base64.b64decode(kubectl.get("secrets", secret)["data"][key]).decode()


def _runs(pod: Manifest) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def _argument(pod: Manifest, option: str) -> str:
    found = _arguments(pod, option)
    if not found:
        raise PlatformError(f"The operator's pod {pod['metadata']['name']} was not told its {option}. Was it changed?")
    return found[0]


def _arguments(pod: Manifest, option: str) -> list[str]:
    words = [word for container in pod["spec"]["containers"] for word in container.get("args") or ()]
    return [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
