"""The kinds of objects that Perch makes or reads, and what all calls have in common.

Objects are written by server-side apply: the API server remembers which fields are ours, so that whoever owns the rest
of an object keeps it. (Kubernetes, Server-Side Apply.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource

from perch.errors import PlatformError
from perch.settings.schema import API_VERSION

Manifest = dict[str, Any]

GROUP, VERSION = API_VERSION.split("/")

FIELD_MANAGER: Final = "perch"
"""Who owns the fields that we write."""

SERVICE_LABEL: Final = "perch.dev/service"
VERSION_LABEL: Final = "perch.dev/version"
FINGERPRINT_LABEL: Final = "perch.dev/fingerprint"
"""Of what a version is run with: another one means that it is not up to date."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"

NOT_FOUND: Final = 404
CONFLICT: Final = 409
"""What the API server answers: there is no such object; it is there already, or another than the one that was meant."""

LIVE_PORT: Final = 80
MIRROR_PORT: Final = 81
"""Ports of a version's Service: for live requests, and for copies, which a Gateway does not mark as such."""

HTTPRoute = create_namespaced_resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
InferenceService = create_namespaced_resource("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
ModelServiceObject = create_namespaced_resource(GROUP, VERSION, "ModelService", "modelservices")


def labels(service: str) -> dict[str, str]:
    """What every object says that was made for a ModelService."""
    return {SERVICE_LABEL: service, MANAGED_BY: FIELD_MANAGER}


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Turn what the API server refuses, or does not answer, into one sentence; raises `PlatformError`."""
    try:
        yield
    except ApiError as error:
        raise PlatformError(f"The cluster refuses to {what}: {error.status.message or error}.") from error
    except (httpx2.HTTPError, TimeoutError) as error:
        told = str(error) or "no answer in time"
        raise PlatformError(f"The cluster's API server does not answer ({told}), so it did not {what}.") from error
