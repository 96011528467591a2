"""The split by `canaryTrafficPercent` of an InferenceService: Knative's revisions.

Knative makes a revision of each change of the predictor, and a Service of its name. The newest ready one gets
`canaryTrafficPercent`, and the one that had all traffic before gets the rest: two arms, no third. Without the percent
the newest gets everything. So who puts a version into the object sets the percent to 0 in the same write; else it gets
all traffic as soon as its pods are ready.

In Standard mode the field is accepted and ignored; there are no revisions then, and the split is refused. (KServe
v0.20.0, `createKnativeService` and `PropagateStatus`.) **Not run against Knative yet**, only against a fake of it.
"""

from collections.abc import Mapping
from typing import Any, Final

from perch.adapters.cluster.objects import Manifest
from perch.adapters.traffic.inference_service import Split
from perch.errors import PlatformError


def _percents(found: Mapping[str, Any]) -> dict[str, int]:
    newest, before = _revisions(found)
    percent = found["spec"]["predictor"].get("canaryTrafficPercent")
    if before is None:
        return {newest: 100}
    latest = 100 if percent is None else int(percent)
    return {newest: latest, before: 100 - latest}


def _patch(found: Mapping[str, Any], percents: Mapping[str, int]) -> Manifest:
    newest, _ = _revisions(found)
    percent = percents.get(newest, 0)
    made = found["status"]["components"]["predictor"].get("latestCreatedRevision", newest)
    if percent and made != newest:
        raise PlatformError(
            f"Revision {made} of InferenceService {found['metadata']['name']} is being made, and would take the weight "
            f"of {newest} when it is ready. Wait for it, or take it back."
        )
    return {"spec": {"predictor": {"canaryTrafficPercent": percent}}}


def _revisions(found: Mapping[str, Any]) -> tuple[str, str | None]:
    """The newest ready revision, and the one that had all traffic before; `None` where there is only one."""
    status = found.get("status", {}).get("components", {}).get("predictor", {})
    newest = status.get("latestReadyRevision")
    if newest is None:
        raise PlatformError(
            f"InferenceService {found['metadata']['name']} has no ready revision. In Standard mode there is none, and "
            "KServe ignores canaryTrafficPercent: split by the HTTPRoute that Perch writes. In Knative mode, wait."
        )
    rolled_out = (status.get("latestRolledoutRevision"), status.get("previousRolledoutRevision"))
    return newest, next((one for one in rolled_out if one and one != newest), None)


KNATIVE: Final = Split(percents=_percents, patch=_patch)
"""For an InferenceService in Knative mode."""
