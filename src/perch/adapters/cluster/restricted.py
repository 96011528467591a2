"""What the `restricted` Pod Security Standard asks of a pod and of its containers."""

from typing import Final

from perch.adapters.cluster.objects import Manifest

_USER: Final = 10_001  # of the images

POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}

LOCKED_DOWN: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Of each container."""
