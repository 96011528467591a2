"""The router's local twin: splits in memory, for tests and simulations without a proxy."""

from collections.abc import Mapping
from random import Random

from perch.adapters.traffic.shares import LIVE_ARMS, WHOLE, as_weights, checked
from perch.core.types import Arm, Weights


class MemoryRouter:
    """A `TrafficRouter` whose requests are calls of `send`."""

    def __init__(self, *, seed: int = 0) -> None:
        self.endpoints: dict[Arm, str] = {}
        self._units: dict[Arm, int] = {}
        self._weights = Weights()
        self._random = Random(seed)

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """See `TrafficRouter.route`."""
        self._units = checked(endpoints, weights)
        self._weights = as_weights(self._units, round(weights.mirror * WHOLE))
        self.endpoints = dict(endpoints)

    def weights(self) -> Weights:
        """See `TrafficRouter.weights`."""
        return self._weights

    def send(self) -> tuple[Arm, ...]:
        """The arms that see one more request: the one that answers it, then `SHADOW` if it is copied."""
        (arm,) = self._random.choices(LIVE_ARMS, [self._units.get(arm, 0) for arm in LIVE_ARMS])
        copied = self._random.random() < self._weights.mirror
        return (arm, Arm.SHADOW) if copied else (arm,)
