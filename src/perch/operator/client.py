"""Steers one ModelService of a cluster through its object, as a person may.

A wish is written and the operator's answer awaited: a version as `spec.version`, anything else as a request in an
annotation. Only these two are ever written, so whoever owns the rest of the object keeps it.
"""

import json
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import uuid4

from perch.adapters.cluster.objects import Manifest
from perch.core.types import Command
from perch.errors import PlatformError, RolloutError
from perch.operator.snapshot import Snapshot
from perch.operator.wish import REQUEST_ANNOTATION
from perch.settings.status import Condition

T = TypeVar("T")

RELEASE_TIMEOUT_S: Final = 300.0
"""How long a release is waited for: its version is brought up first."""

REQUEST_TIMEOUT_S: Final = 60.0
"""How long any other answer is waited for: an operator that takes over from a dead one needs half of it."""

_KIND: Final = "modelservices.perch.dev"
_LOOK_S: Final = 0.5


class _TriedAgainError(RolloutError):
    """What failed around a release may go away, and the wish stays."""


class Objects(Protocol):
    """The API server, through `kubectl` or from a pod. Both raise `PlatformError` in one sentence."""

    where: str
    """What `kubectl` must be told to mean the same cluster, such as ` --context prod`."""

    def get(self, kind: str, name: str) -> Manifest:
        """One object."""
        ...

    def patch(self, kind: str, name: str, patch: Manifest) -> Manifest:
        """Merge `patch` into an object; returns what it is then."""
        ...


class ClusterClient:
    """Reads one ModelService, and asks its operator for things."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self._name = name

    def look(self) -> Snapshot:
        """What the object says now; raises `PlatformError` when there is none."""
        return Snapshot.of(self._objects.get(_KIND, self._name))

    def release(self, version: int, progress: Callable[[str], None], *, override: bool) -> str:
        """Wish for a version and wait until its rollout has begun; returns the rollout's name.

        Raises:
            RolloutError: it is refused: by what the object says already, or by the operator. The wish is what it was
                before, or for the champion where that was asked for.
            PlatformError: no operator answers in time.
        """
        before = self.look()
        _check_free(before)
        is_new = version != before.declaration.spec.version
        if version == before.standing.champion:
            if is_new and before.declaration.spec.version is not None:
                self._wish(version)  # or another one would go on being asked for
            raise RolloutError(f"Version {version} is the champion already. There is nothing to roll out.")
        patch: Manifest = {"spec": {"version": version}} if is_new else {}
        request = None if is_new and not override else uuid4().hex
        if request is not None:  # a wish that is there already is tried again only when somebody asks
            patch |= _request(request, "retry", override=override)
        try:
            return self._begin(before, patch, request, progress)
        except _TriedAgainError:
            raise
        except RolloutError:
            if is_new:  # else it would be released as soon as what speaks against it is gone, when nobody thinks of it
                self._wish(before.declaration.spec.version)
            raise

    def retry(self, progress: Callable[[str], None], *, override: bool) -> tuple[str, str]:
        """Release the wanted version once more; returns the new rollout's name and that of the last one.

        Raises:
            RolloutError: nothing is there to retry, or the operator refuses.
            PlatformError: no operator answers in time.
        """
        before = self.look()
        _check_free(before)
        last, version = before.standing.attempt, before.declaration.spec.version
        if last is None or version is None or version == before.standing.champion:
            raise RolloutError("There is nothing to retry: no rollout of the wanted version ended without promotion.")
        request = uuid4().hex
        name = self._begin(before, _request(request, "retry", override=override), request, progress)
        return name, last.name

    def command(self, command: Command, progress: Callable[[str], None]) -> None:
        """Pause, resume, promote or roll back; returns when the operator has taken it on.

        Raises:
            RolloutError: no rollout is in progress.
            PlatformError: no operator answers in time.
        """
        before = self.look()
        if not before.standing.rolling:
            raise RolloutError(f"No rollout is in progress, so there is nothing to {command.replace('_', ' ')}.")
        self._ask(before, command.replace("_", ""), progress)

    def retrain(self, progress: Callable[[str], None], *, override: bool) -> None:
        """Ask for a run that trains anew; returns when the operator has taken it on.

        Raises:
            RolloutError: the operator refuses.
            PlatformError: no operator answers in time.
        """
        self._ask(self.look(), "retrain", progress, override=override)

    def _ask(self, before: Snapshot, verb: str, progress: Callable[[str], None], *, override: bool = False) -> None:
        """Write a request and wait until it is taken on; raises `RolloutError` when it is refused."""
        request = uuid4().hex
        self._objects.patch(_KIND, self._name, _request(request, verb, override=override))

        def answer(now: Snapshot) -> bool | None:
            if now.status.request != request:
                return None
            if now.accepted != before.accepted:
                _check_not_refused(now.accepted)
            return True

        self._await(answer, REQUEST_TIMEOUT_S, lambda waited: progress(f"waiting for the operator: {waited}"))

    def _wish(self, version: int | None) -> None:
        self._objects.patch(_KIND, self._name, {"spec": {"version": version}})

    def _begin(self, before: Snapshot, patch: Manifest, request: str | None, progress: Callable[[str], None]) -> str:
        """Write a wish, with its request, and return the name of the rollout that it begins."""
        generation = self._objects.patch(_KIND, self._name, patch)["metadata"]["generation"]

        def answer(now: Snapshot) -> str | None:
            accepted = now.accepted
            if accepted is None or accepted == before.accepted or accepted.observed_generation < generation:
                return None
            if accepted.status == "Unknown" or request not in {None, now.status.request}:
                return None
            _check_not_refused(accepted)
            return now.status.rollout

        return self._await(answer, RELEASE_TIMEOUT_S, lambda waited: progress(f"waiting for its pods: {waited}"))

    def _await(self, answer: Callable[[Snapshot], T | None], timeout_s: float, progress: Callable[[str], None]) -> T:
        """Look at the object until there is an answer; raises `PlatformError` when there is none in time."""
        began_s = time.monotonic()
        while (waited_s := time.monotonic() - began_s) < timeout_s:
            if (found := answer(now := self.look())) is not None:
                return found
            progress(f"{waited_s:.0f} s")
            time.sleep(_LOOK_S)
        said = f" It says: {now.accepted.message}" if now.accepted is not None else ""
        raise PlatformError(
            f"No operator has answered within {timeout_s:.0f} s. The wish stays on the object, and the next one to run"
            f" follows it.{said} See whether one does: kubectl{self._objects.where} get pods"
            " --all-namespaces --selector app.kubernetes.io/name=perch-operator"
        )


def _check_free(now: Snapshot) -> None:
    """Raise `RolloutError` while a rollout is in progress: a wish that is written meanwhile would be tried unseen."""
    attempt = now.standing.attempt
    if now.standing.rolling and attempt is not None:
        raise RolloutError(f"Rollout {attempt.name} is still in progress. Wait for its end, or roll it back first.")


def _check_not_refused(accepted: Condition | None) -> None:
    if accepted is not None and accepted.status == "False":
        said = f"{accepted.message.rstrip('.')}."
        if accepted.reason == "TryingAgain":
            raise _TriedAgainError(f"{said} The operator tries again until spec.version changes.")
        raise RolloutError(said)


def _request(number: str, verb: str, *, override: bool = False) -> Manifest:
    told = json.dumps({"id": number, "verb": verb} | ({"override": True} if override else {}))
    return {"metadata": {"annotations": {REQUEST_ANNOTATION: told}}}
