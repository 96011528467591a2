"""Splits traffic by the canary fields of one InferenceService, for who has to stay on KServe's own canary.

KServe has two such fields, each a `Split`: `kserve_canary` and `knative`. Both do less than our own route does. They
count in whole percent, copy no requests, and do not stamp the arm: the pods count everything as `direct`. And they may
be accepted and route nothing, which no field of the object tells: put a `ProbedRouter` in front.

The InferenceService is not ours: whoever runs the versions keeps two of them in it. Only the weights are written here.
No service is steered by this yet; `docs/decisions/0016` says what that would take.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightkube import Client
from lightkube.types import PatchType

from perch.adapters.cluster.objects import InferenceService, Manifest, calling
from perch.adapters.cluster.writing import write_over
from perch.adapters.traffic.shares import checked, whole_percents
from perch.core.types import Arm, Weights
from perch.errors import PlatformError


@dataclass(frozen=True, slots=True)
class Split:
    """Where an InferenceService says how its traffic is split. Both functions are pure; they raise `PlatformError`."""

    percents: Callable[[Mapping[str, Any]], dict[str, int]]
    """What each version in the object is to get, in percent, by the name of the Service that leads to it."""

    patch: Callable[[Mapping[str, Any], Mapping[str, int]], Manifest]
    """What to merge into the object (RFC 7396) for each Service to get its percent; one that is not named gets none."""


class InferenceServiceRouter:
    """A `TrafficRouter` that writes one InferenceService. Its calls block; it is made for a thread."""

    def __init__(
        self, client: Client, name: str, namespace: str, split: Split, *, may_write: Callable[[], None]
    ) -> None:
        """Make a router.

        Args:
            client: Of the API server.
            name: Of the InferenceService that holds the versions.
            namespace: Where it is.
            split: Which of its fields split.
            may_write: Asked right before each write; raises `PlatformError` when another operator writes.
        """
        self._client = client
        self._name = name
        self._namespace = namespace
        self._split = split
        self._may_write = may_write
        self._arms: dict[Arm, str] = {}

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """See `TrafficRouter.route`. Endpoints are `SERVICE.NAMESPACE:PORT`, of the Services that KServe made.

        Weights are rounded to whole percent, see `whole_percents`. Returns when the API server has taken the change;
        what KServe makes of it, only requests tell.

        Raises:
            PlatformError: see `TrafficRouter.route`; requests are to be copied; two arms lead to one Service, or one to
                no version in the object; another operator writes.
        """
        percents = whole_percents(checked(endpoints, weights))
        if weights.mirror:
            raise PlatformError(
                f"The canary of InferenceService {self._name} cannot be sent copies of requests: KServe has no field "
                "for them. Set policy.shadow to false, or split by the HTTPRoute that Perch writes."
            )
        arms = {arm: endpoints[arm].partition(".")[0] for arm, percent in percents.items() if percent}
        if len(set(arms.values())) < len(arms):
            raise PlatformError(
                f"Of the arms of InferenceService {self._name} ({_told(arms)}) two lead to the same Service, and as "
                "KServe does not stamp the arm, nothing would tell them apart. Give the weight to one of them."
            )
        self._write({service: percents[arm] for arm, service in arms.items()})
        self._arms = arms

    def weights(self) -> Weights:
        """See `TrafficRouter.weights`: what the object says of the arms last routed here; before that, the default.

        The object cannot keep the arms: KServe copies its labels and annotations to the pods, and so restarts them.
        """
        if not self._arms:
            return Weights()
        percents = self._split.percents(self._read())
        shares = {arm: percents.get(service, 0) / 100 for arm, service in self._arms.items()}
        return Weights(
            baseline=shares.get(Arm.BASELINE, 0.0),
            stable=shares.get(Arm.STABLE, 0.0),
            canary=shares.get(Arm.CANARY, 0.0),
        )

    def _write(self, wanted: Mapping[str, int]) -> None:
        """Merge the weights in, unless somebody has written since the object was read; then read it again."""

        def write() -> None:
            found = self._read()
            known = self._split.percents(found)
            if strangers := sorted(wanted.keys() - known.keys()):
                raise PlatformError(
                    f"InferenceService {self._name} in {self._namespace} has nothing behind {', '.join(strangers)}, "
                    f"only {', '.join(known)}. Put the version into the object, and wait until it is ready."
                )
            patch = self._split.patch(found, wanted)
            patch["metadata"] = {"resourceVersion": found["metadata"]["resourceVersion"]}
            self._may_write()
            self._client.patch(
                InferenceService, self._name, patch, namespace=self._namespace, patch_type=PatchType.MERGE
            )

        write_over(f"change the weights of InferenceService {self._name}", write)

    def _read(self) -> Mapping[str, Any]:
        with calling(f"read InferenceService {self._name}"):
            return dict(self._client.get(InferenceService, self._name, namespace=self._namespace))


def _told(arms: Mapping[Arm, str]) -> str:
    return ", ".join(f"{arm}: {service}" for arm, service in arms.items())
