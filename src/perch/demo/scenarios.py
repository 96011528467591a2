"""What the demonstration releases, what is wrong with it, and how it should end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perch.core.types import Action
from perch.demo.faults import CONSTANT, ERRORS, IN_HOURS, SKEW


@dataclass(frozen=True, slots=True)
class Scenario:
    """One rollout of the demonstration."""

    name: str
    title: str
    """What is released, for a person."""

    expected: Action
    faults: Mapping[str, Any] = field(default_factory=dict)
    """What is broken about the canary from its start, as `PUT /faults` takes it."""

    p99_factor: float = 1.0
    """The canary answers later, by so much that its p99 is at least this many times the champion's."""

    later_faults: Mapping[str, Any] = field(default_factory=dict)
    """What breaks in the promoted version and in the old champion once the guard watches."""

    policy: Mapping[str, Any] = field(default_factory=dict)
    """Where this rollout's policy differs from the declaration's."""

    misjudges: bool = False
    """Every answer of the canary counts as a bad one, whatever its status: its scores are wrong."""


SCENARIOS = (
    Scenario(
        "good",
        "A better model: gradient-boosted trees in place of the baseline",
        Action.PROMOTE,
    ),
    Scenario(
        "errors",
        "A retrained model that fails 5 % of its requests, released without a shadow stage",
        Action.ROLL_BACK,
        faults=ERRORS,
        policy={"shadow": False},
    ),
    Scenario(
        "latency",
        "A retrained model with at least twice the champion's p99 latency, released without a shadow stage",
        Action.ROLL_BACK,
        p99_factor=2.0,
        policy={"shadow": False},
    ),
    Scenario(
        "constant",
        "A retrained model that gives every ad the same score",
        Action.ROLL_BACK,
        faults=CONSTANT,
        misjudges=True,
    ),
    Scenario(
        "skew",
        "A retrained model that is sent prices in cents, where training had whole units (training-serving skew)",
        Action.ROLL_BACK,
        faults=SKEW,
        policy={"shadow_s": 30.0},  # it takes 6 to 13 s, and copies cost nobody anything
        misjudges=True,
    ),
    Scenario(
        "inputs",
        "A retrained model that is sent the age of ads in hours, where training had days: it scores them as before",
        Action.ROLL_BACK,
        faults=IN_HOURS,
        policy={"external_judge": True, "shadow_s": 60.0},
        misjudges=True,
    ),
    Scenario(
        "fallback",
        "A good model is promoted; then it breaks, and so does the champion before it",
        Action.FALL_BACK,
        later_faults={"error_rate": 0.2},
    ),
)
