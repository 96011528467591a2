"""The status of a ModelService object: what the operator tells, and what it needs to go on after a restart.

Only the operator writes it, through the object's status subresource; the wish in `spec` stays whoever wrote it's own.
Its layout is part of the custom resource definition, see `perch.settings.crd`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints

from perch.settings.schema import Settings, Version

ENGINE_LIMIT_BYTES = 256 * 1024
"""Largest engine state that is kept in an object; etcd takes 1.5 MiB for all of it."""

SERVING = "serving"
"""The phase of a service that has no rollout in progress."""


class Condition(Settings):
    """One aspect of the object's state, as Kubernetes' `metav1.Condition`."""

    type: Annotated[str, StringConstraints(pattern="^[A-Z][A-Za-z0-9]*$", max_length=316)]
    """Aspect that is told of, in CamelCase."""

    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""

    reason: Annotated[str, StringConstraints(pattern="^[A-Z][A-Za-z0-9]*$", max_length=1024)]
    """Why, in one CamelCase word for programs."""

    message: Annotated[str, StringConstraints(max_length=32_768)]
    """Why, in a sentence for people."""

    last_transition_time: AwareDatetime
    """When `status` last changed."""

    observed_generation: Annotated[int, Field(ge=0)]
    """Generation of the object that the condition was found for."""


class Freshness(Settings):
    """How fresh the model is, and when it is trained anew."""

    fresh_since: AwareDatetime
    """Since when the champion ages: when its data was read, or when a run last found nothing better."""

    due: AwareDatetime
    """When the next run is due by age alone."""

    lost_clicks: float
    """What age has cost since then."""

    loss_per_hour: float | None = None
    """Clicks in a thousand impressions that an hour of age costs, by the last backtest. Empty: never measured."""

    runs_left: float
    """Runs that the budget had left at the last look."""

    run: int
    """Number of the last run that was started by itself, or for a person; 0: none."""

    in_progress: str | None = None
    """Name of the run or rollout in progress."""

    sentence: str
    """What was decided last, and why."""

    state: Annotated[str, StringConstraints(max_length=ENGINE_LIMIT_BYTES)]
    """What the operator needs to go on, compressed. Of no use to people."""


class Drift(Settings):
    """How what the service is asked about stands against the training of its model."""

    inputs: tuple[str, ...] = ()
    """Names of the inputs that drift."""

    sentence: str
    """What has moved."""

    state: Annotated[str, StringConstraints(max_length=ENGINE_LIMIT_BYTES)]
    """What the operator needs to go on, compressed. Of no use to people."""


class ModelServiceStatus(Settings):
    """Where the service stands. Only the operator writes it."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """The status in an object, which a new one does not have yet; raises `ValidationError` when it is not ours."""
        return cls.model_validate({"observedGeneration": 0, **(found.get("status") or {})})

    observed_generation: Annotated[int, Field(ge=0)]
    """Generation of the object that was last taken on."""

    champion: Version | None = None
    """Version that serves."""

    baseline: Version | None = None
    """Version to fall back to."""

    canary: Version | None = None
    """Version that is being tried."""

    phase: str | None = None
    """Phase of the rollout in progress; `serving` when there is none, and empty before anything serves."""

    weight: str | None = None
    """The canary's share of the traffic, such as `12 %`."""

    evidence: str | None = None
    """Odds that the canary harms, such as `1.3 to 1`."""

    rollout: str | None = None
    """Name of the rollout in progress, or of the last one."""

    outcome: str | None = None
    """How the last rollout ended: `promote`, `roll_back`, `fall_back`, or `hold` when it was given up undecided."""

    sentence: str | None = None
    """What was decided last, and why."""

    freshness: Freshness | None = None
    """How fresh the model is. Empty before anybody has looked."""

    drift: Drift | None = None
    """How the inputs stand. Empty before a window of them was full."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Aspects of the state, at most one of each type."""

    request: str | None = None
    """Id of the last request of a person that was taken on."""

    operator: str | None = None
    """Namespace of the Perch that runs the service. Another one leaves it alone while that one lives."""

    engine: Annotated[str, StringConstraints(max_length=ENGINE_LIMIT_BYTES)] | None = None
    """The engine's state, compressed; with it the operator goes on where it was. Of no use to people."""
