"""An API server with one InferenceService, and a KServe that does what its canary fields say.

The real one that does is not to be had everywhere: KServe 0.20 routes nothing to `spec.canary`, and
`canaryTrafficPercent` needs Knative. What the fakes do is read from KServe's source.
"""

import copy
import json
from collections import Counter
from random import Random

from lightkube.core.exceptions import ApiError

from perch.core.types import Arm


def conflict():
    status = {"kind": "Status", "status": "Failure", "code": 409, "message": "the object has been modified"}
    answer = type("Answer", (), {"json": lambda _: status, "text": json.dumps(status)})()
    return ApiError(request=None, response=answer)


class FakeKserve:
    """The client's two calls, and requests through the route."""

    def __init__(self, found):
        self.found = found
        self.conflicts = 0
        self.writes = []
        self._random = Random(1)

    def get(self, kind, name, *, namespace):
        assert (name, namespace) == ("ads", "shop")
        return copy.deepcopy(self.found)

    def patch(self, kind, name, patch, *, namespace, patch_type):
        assert patch_type.value == "application/merge-patch+json"
        self.writes.append(patch)
        if self.conflicts:
            self.conflicts -= 1
            self._bump()
        if patch["metadata"]["resourceVersion"] != self.found["metadata"]["resourceVersion"]:
            raise conflict()
        self.found = merged(self.found, patch)
        self._bump()
        self.reconcile()

    def _bump(self):
        self.found["metadata"]["resourceVersion"] = str(int(self.found["metadata"]["resourceVersion"]) + 1)

    def reconcile(self):
        pass

    def send(self, n):
        shares = self.shares()
        arms = {endpoint.partition(".")[0]: arm.value for arm, endpoint in self.endpoints.items()}
        return Counter(arms[one] for one in self._random.choices(list(shares), list(shares.values()), k=n))


def merged(into, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    known = into if isinstance(into, dict) else {}
    kept = {key: value for key, value in known.items() if key not in patch}
    return kept | {key: merged(known.get(key), value) for key, value in patch.items() if value is not None}


class StandardKserve(FakeKserve):
    """Routes by `spec.canary`, as KServe does from 0.21 on by its source."""

    def __init__(self):
        self.endpoints = {
            Arm.BASELINE: "ads-v1-predictor.shop:80",
            Arm.STABLE: "ads-predictor.shop:80",
            Arm.CANARY: "ads-v3-predictor.shop:80",
        }
        canary = [{"trafficPercent": 0, "predictor": {"name": one, "model": {}}} for one in ("v1", "v3")]
        spec = {"predictor": {"model": {}}, "canary": canary}
        super().__init__({"metadata": {"name": "ads", "resourceVersion": "1"}, "spec": spec, "status": {}})

    def shares(self):
        canaries = self.found["spec"]["canary"]
        shares = {f"ads-{one['predictor']['name']}-predictor": one["trafficPercent"] for one in canaries}
        return {"ads-predictor": 100 - sum(shares.values()), **shares}


class KnativeKserve(FakeKserve):
    """Routes by `canaryTrafficPercent` between the newest revision and the one that had all traffic before."""

    def __init__(self):
        self.endpoints = {Arm.STABLE: "ads-predictor-00001.shop:80", Arm.CANARY: "ads-predictor-00002.shop:80"}
        spec = {"predictor": {"model": {}, "canaryTrafficPercent": 0}}
        revisions = {
            "latestCreatedRevision": "ads-predictor-00002",
            "latestReadyRevision": "ads-predictor-00002",
            "latestRolledoutRevision": "ads-predictor-00001",
        }
        status = {"components": {"predictor": revisions}}
        super().__init__({"metadata": {"name": "ads", "resourceVersion": "1"}, "spec": spec, "status": status})

    @property
    def revisions(self):
        return self.found["status"]["components"]["predictor"]

    def shares(self):
        percent = self.found["spec"]["predictor"]["canaryTrafficPercent"]
        return {
            self.revisions["latestRolledoutRevision"]: 100 - percent,
            self.revisions["latestReadyRevision"]: percent,
        }

    def reconcile(self):
        """`PropagateStatus`: what has all traffic is rolled out; who takes some away again goes back."""
        known, percent = self.revisions, self.found["spec"]["predictor"]["canaryTrafficPercent"]
        newest, rolled_out = known["latestReadyRevision"], known["latestRolledoutRevision"]
        if percent == 100 and rolled_out != newest:
            known |= {"previousRolledoutRevision": rolled_out, "latestRolledoutRevision": newest}
        elif percent < 100 and rolled_out == newest:
            known["latestRolledoutRevision"] = known["previousRolledoutRevision"]
