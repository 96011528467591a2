"""A split as whole ten-thousandths, the unit in which every router counts.

Shares are floating-point numbers, routers want integers that add up exactly. Both the real router and its twin round
here, so that what one says is in force, the other would say too.
"""

import math
from collections.abc import Mapping

from perch.core.types import Arm, Weights
from perch.errors import PlatformError

WHOLE = 10_000
"""All of the traffic, in ten-thousandths."""

LIVE_ARMS = (Arm.BASELINE, Arm.STABLE, Arm.CANARY)
"""The arms that can have live traffic, in the order of their clusters."""


def ten_thousandths(weights: Weights) -> dict[Arm, int]:
    """The weights of the live arms in ten-thousandths, adding up to `WHOLE` exactly, each less than one unit off.

    What rounding down leaves over goes to the largest remainders (Hamilton's method).

    Raises:
        PlatformError: A weight is not within 0 to 1, or the live ones do not add up to 1.
    """
    shares = {Arm.BASELINE: weights.baseline, Arm.STABLE: weights.stable, Arm.CANARY: weights.canary}
    if not all(0 <= share <= 1 for share in (*shares.values(), weights.mirror)):
        raise PlatformError(f"{weights} cannot be routed: each weight must be within 0 to 1; correct the weights.")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise PlatformError(f"{weights} cannot be routed: the arms' weights must add up to 1; correct the weights.")
    exact = {arm: share * WHOLE for arm, share in shares.items()}
    units = {arm: math.floor(value + 1e-6) for arm, value in exact.items()}
    by_remainder = sorted(LIVE_ARMS, key=lambda arm: units[arm] - exact[arm])
    for arm in by_remainder[: WHOLE - sum(units.values())]:
        units[arm] += 1
    return units


def checked(endpoints: Mapping[Arm, str], weights: Weights) -> dict[Arm, int]:
    """The weights in ten-thousandths, after a check that every arm that is to receive requests has an endpoint.

    Raises:
        PlatformError: An arm with a weight, or the canary of a mirror, has no endpoint, or the weights are not a split.
    """
    units = ten_thousandths(weights)
    wanted = {arm for arm, share in units.items() if share} | ({Arm.CANARY} if weights.mirror else set())
    if missing := sorted(wanted - endpoints.keys()):
        raise PlatformError(
            f"{weights} cannot be routed: no endpoint is known for {', '.join(missing)}; "
            "start its server and give its host:port, or give it no traffic."
        )
    return units


def whole_percents(units: Mapping[Arm, int]) -> dict[Arm, int]:
    """Ten-thousandths of every live arm as percent, adding up to 100: for a router that counts in no smaller unit.

    Rounded down, and what is left over goes to the champion, or without it to the baseline: no arm on trial gets more
    than it was given. So a canary with less than one percent gets nothing.
    """
    percents = {arm: units[arm] // 100 for arm in LIVE_ARMS}
    safest = next(arm for arm in (Arm.STABLE, Arm.BASELINE, Arm.CANARY) if units[arm])
    percents[safest] += 100 - sum(percents.values())
    return percents


def as_weights(units: Mapping[Arm, int], mirror: int) -> Weights:
    """Ten-thousandths as weights; an arm that is not named has none."""
    return Weights(
        baseline=units.get(Arm.BASELINE, 0) / WHOLE,
        stable=units.get(Arm.STABLE, 0) / WHOLE,
        canary=units.get(Arm.CANARY, 0) / WHOLE,
        mirror=mirror / WHOLE,
    )
