"""The split by `spec.canary` of an InferenceService: KServe's own canary in Standard mode.

Each entry is a further predictor with pods and a Service of its own; the main predictor gets what they leave over.
KServe 0.20 accepts the field, starts the pods, reports the percent as if it were in force, and routes nothing to them.

To go home, set the weight to 0, and remove the entry when requests have drained: KServe takes the pods away before the
route. A promotion moves the entry to `spec.predictor`, which ends the old champion at once: keep the entry at 100
percent until the guard is over. (KServe v0.20.0, `reconcileCanaryDeployments`.)
"""

from collections.abc import Mapping
from typing import Any, Final

from perch.adapters.cluster.objects import Manifest
from perch.adapters.traffic.inference_service import Split


def _percents(found: Mapping[str, Any]) -> dict[str, int]:
    canaries = {_service(found, one["predictor"]): int(one["trafficPercent"]) for one in _canaries(found)}
    return {_service(found, found["spec"]["predictor"]): 100 - sum(canaries.values()), **canaries}


def _patch(found: Mapping[str, Any], percents: Mapping[str, int]) -> Manifest:
    """The whole list: merging replaces it."""
    canary = [one | {"trafficPercent": percents.get(_service(found, one["predictor"]), 0)} for one in _canaries(found)]
    return {"spec": {"canary": canary}}


def _canaries(found: Mapping[str, Any]) -> list[Manifest]:
    return list(found["spec"].get("canary") or [])


def _service(found: Mapping[str, Any], predictor: Mapping[str, Any]) -> str:
    parts = (found["metadata"]["name"], predictor.get("name"), "predictor")
    return "-".join(part for part in parts if part)


KSERVE_CANARY: Final = Split(percents=_percents, patch=_patch)
"""For an InferenceService in Standard mode."""
