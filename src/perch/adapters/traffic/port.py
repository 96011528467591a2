"""What Perch asks of whatever splits the traffic."""

from collections.abc import Mapping
from typing import Protocol

from perch.core.types import Arm, Weights


class TrafficRouter(Protocol):
    """Splits the requests of one service over its arms and stamps the arm on each request."""

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """Send live traffic to `endpoints` (arm to `host:port`) by `weights`, replacing what was there, all or nothing.

        No request may be lost by the change. With `weights.mirror` above 0 that share of all requests is copied to
        the canary's endpoint. Raises `PlatformError` when an arm with a weight has no endpoint, and when
        the change cannot be made.
        """
        ...

    def weights(self) -> Weights:
        """The weights that are in force, as last written."""
        ...
