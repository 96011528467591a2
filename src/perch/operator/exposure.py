"""Where a service is reached from outside: the Gateway and the host of its route, and which of them it may ask for.

Who may write a ModelService would else have the operator make a route for any host, at any Gateway that admits it.
"""

from dataclasses import dataclass
from typing import Final

from perch.errors import PlatformError
from perch.settings import ModelService
from perch.settings.schema import Cluster


@dataclass(frozen=True, slots=True)
class Allowed:
    """What services may ask for; nothing listed is no limit."""

    gateways: tuple[str, ...]
    """As `namespace/name`."""

    domains: tuple[str, ...]
    """A declared host is one of them, or below one. The host that a service has without one is its own anyway."""


ANYWHERE: Final = Allowed((), ())


def hostname_of(declaration: ModelService, namespace: str) -> str:
    """The host that clients name in their requests."""
    return declaration.spec.cluster.hostname or f"{declaration.name}.{namespace}.perch"


def check_allowed(cluster: Cluster, allowed: Allowed) -> None:
    """Raise `PlatformError` when a service asks for a Gateway or a host that it may not have."""
    gateway, host = cluster.gateway, cluster.hostname
    if allowed.gateways and gateway not in allowed.gateways:
        raise _refusal("gateway", gateway, f"one of {', '.join(allowed.gateways)}", "gateways")
    if allowed.domains and host and not f".{host}".endswith(tuple(f".{domain}" for domain in allowed.domains)):
        raise _refusal("hostname", host, f"a name in {' or '.join(allowed.domains)}", "domains")


def _refusal(key: str, asked: str, wanted: str, option: str) -> PlatformError:
    return PlatformError(
        f"spec.cluster.{key} may not be {asked} here, so its route is not written. Set {wanted}; or ask whoever runs "
        f"the cluster to add it to the chart's operator.{option}."
    )
