"""What makes a Hera script of a pipeline's function: where its artifacts lie, how it fails, what its pod may do.

A step that fails for a reason of the data's or the model's is not run again: it would fail again. What fails around it
is, with a growing pause.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hera.workflows import Artifact, ConfigMapEnvFrom, EmptyDirVolume, Resources, RetryStrategy, SecretEnvFrom, script
from hera.workflows import models as m

from perch.errors import PerchError, PlatformError, RegistryError

IMAGE: Final = "perch-training"
"""Image of the steps; the chart puts registry, tag and digest in its place."""

SERVING_IMAGE: Final = "perch-serving"

CONFIG: Final = "perch-training"
"""ConfigMap whose keys are the environment of every step, and Secret, where there is one, of those that speak to data,
registry or people; what runs the code of models gets no credentials."""

_AS_DECLARED: Final = {"memory": "{{workflow.parameters.memory}}"}
_MEMORY: Final = json.dumps(
    {"containers": [{"name": "main", "resources": {"requests": _AS_DECLARED, "limits": _AS_DECLARED}}]}
)
"""Of steps that hold rows of the log. A patch, since Argo fills in no variable among the resources of a container."""

RELEASING: Final = "perch-releasing"
"""Service account of the steps that read the ModelService, and write its wish."""

INPUTS: Final = "PERCH_INPUTS"
"""Variable with the folder of a step's input artifacts; a pod has its own, so only the local runner sets it."""

_TERMINATION_LOG: Final = Path("/dev/termination-log")
"""What stands there becomes the message of the pod, and so of the workflow (Kubernetes, "Determine the reason for pod
failure")."""

_AROUND: Final = (RegistryError.exit_code, PlatformError.exit_code)

RETRIES: Final = RetryStrategy(
    limit=3,
    backoff=m.Backoff(duration="10s", factor=m.IntOrString(root=2), cap="2m"),
    retry_policy="Always",
    expression=(
        "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) > 127 || "
        f"asInt(lastRetry.exitCode) in [{', '.join(map(str, _AROUND))}]"
    ),
)
"""Tried again: pods that were killed or evicted (signals are 128 and more), and what does not answer."""

RESTRICTED: Final = m.SecurityContext(
    allow_privilege_escalation=False,
    capabilities=m.Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
)


def is_around(exit_code: int) -> bool:
    """Whether a step that ended so failed for what is around it, and is worth another try, as `RETRIES` says."""
    return exit_code > 127 or exit_code in _AROUND


def incoming(name: str, *, optional: bool = False) -> Artifact:
    """An input artifact; the step is given its path, or `None` where an optional one is absent."""
    folder = os.environ.get(INPUTS, "/perch/inputs")
    return Artifact(name=name, path=f"{folder}/{name}", loader=None, optional=optional or None)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone when the step is."""
    with TemporaryDirectory(prefix="perch-") as folder:
        yield Path(folder)


def outgoing(name: str) -> Artifact:
    """An output artifact; the step is given the path that it is to write."""
    return Artifact(name=name, output=True)


def pod(cpu: str = "250m", memory: str | None = "1Gi", *, credentials: bool = False) -> dict[str, Any]:
    """What every pod of a workflow has: bounds, a writable /tmp on a read-only root, and nothing that it needs not.

    Args:
        cpu: Processor time that it asks for.
        memory: Memory that it asks for, and may take; `None`: what the declaration says of training.
        credentials: It speaks to the data, the registry or people, and is given what opens them.
    """
    environment = [ConfigMapEnvFrom(name=CONFIG)]
    return {
        "resources": Resources(cpu_request=cpu, memory_request=memory, memory_limit=memory),
        "pod_spec_patch": None if memory else _MEMORY,
        "security_context": RESTRICTED,
        "volumes": [EmptyDirVolume(name="tmp", mount_path="/tmp")],  # noqa: S108  the pod's own
        "env_from": [*environment, SecretEnvFrom(name=CONFIG, optional=True)] if credentials else environment,
        "retry_strategy": RETRIES,
    }


def step(
    *,
    cpu: str = "250m",
    memory: str | None = "1Gi",
    credentials: bool = False,
    deadline_s: int = 1_800,
    **template: Any,  # noqa: ANN401  Hera's own
) -> Callable[[Callable[..., Any]], Any]:
    """Make a step of a function whose parameters and result are annotated as Hera's runner wants them.

    Args:
        cpu: Processor time that its pod asks for.
        memory: See `pod`.
        credentials: See `pod`.
        deadline_s: After so many seconds of one try it has failed.
        template: Further fields of the Argo template.
    """
    made = script(
        constructor="runner",
        image=IMAGE,
        command=["python"],
        active_deadline_seconds=deadline_s,
        **pod(cpu, memory, credentials=credentials),
        **template,
    )

    def decorate(function: Callable[..., Any]) -> Any:  # noqa: ANN401  Hera's own
        return made(_failing_in_a_sentence(function))

    return decorate


def _failing_in_a_sentence(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        try:
            return function(*given, **named)
        except PerchError as error:
            tell_end(str(error))
            sys.exit(error.exit_code)
        except OSError as error:
            tell_end(f"A file cannot be read or written ({error}): look whether the volume is full.")
            sys.exit(PlatformError.exit_code)

    return run


def tell_end(sentence: str) -> None:
    """Say why a step ends: in its log, and where Kubernetes looks for it."""
    print(sentence, file=sys.stderr)  # noqa: T201  the step's log
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(sentence[:2_000], encoding="utf-8")
