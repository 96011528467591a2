"""A ModelService of a cluster."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perch.adapters.cluster.kubectl import Kubectl
from perch.adapters.events.client import EventsClient
from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.fleet.switch import RemoteSwitch
from perch.adapters.registry.port import ModelRegistry
from perch.cli.options import console, declared
from perch.core.types import Command
from perch.drift.remembered import Remembered as Drift
from perch.errors import PlatformError, UsageError
from perch.freshness.remembered import Remembered
from perch.operator import drift, reach
from perch.operator.client import ClusterClient
from perch.operator.freshness import unpacked
from perch.settings import ModelService

if TYPE_CHECKING:
    from perch.cli.target import Workflows


class OnCluster:
    """A ModelService, through its object. See `Target` for what its methods promise."""

    def __init__(
        self, declaration: Path, folder: Path, context: str, namespace: str | None, service: str | None
    ) -> None:
        self.folder = folder
        named = {"--context": context, "--namespace": namespace, "--service": service}
        self.options = "".join(f" {option} {shlex.quote(value)}" for option, value in named.items() if value)
        where = f"--context {shlex.quote(context)}" + (f" --namespace {shlex.quote(namespace)}" if namespace else "")
        self.bring_up = f"kubectl {where} apply -f {declaration}"
        self._declaration = declaration
        self._service = service
        self._kubectl = Kubectl(context, namespace)

    def declaration(self) -> ModelService:
        """What the object says, whoever wrote it."""
        return self._client.look().declaration

    def differences(self, wish: ModelService) -> list[str]:
        """All keys but the version: the object's own count, and may belong to somebody else."""
        return self._client.look().differences(wish)

    def status(self) -> dict[str, Any]:
        """Out of the object's status."""
        return self._client.look().told()

    def release(self, wish: ModelService, *, override: bool) -> str:
        """Wish for the version in the object, and wait for the operator's answer."""
        assert wish.spec.version is not None, "checked by the verb"
        with console.status("asking the operator") as waiting:
            return self._client.release(wish.spec.version, waiting.update, override=override)

    def retry(self, wish: ModelService, *, override: bool) -> tuple[str, str]:  # noqa: ARG002  the object's wish counts
        """Ask the operator, and wait for its answer."""
        with console.status("asking the operator") as waiting:
            return self._client.retry(waiting.update, override=override)

    def command(self, command: Command) -> None:
        """Ask the operator, and wait until it has taken the request on."""
        with console.status("asking the operator") as waiting:
            self._client.command(command, waiting.update)

    def ledgers(self) -> AbstractContextManager[Path]:
        """Copied from the operator's pod."""
        return reach.ledgers(self._kubectl, self._name)

    @contextmanager
    def ledger(self, name: str | None) -> Iterator[Path]:
        """Copied from the operator's pod; the last one is the one that the object names."""
        name = name or self._client.look().status.rollout
        if name is None:
            raise UsageError(f"No rollout of {self._name} has been recorded. Begin one with `perch rollout start`.")
        with reach.ledger(self._kubectl, self._name, name) as path:
            yield path

    def registry(self) -> AbstractContextManager[ModelRegistry]:
        """The one that the operator uses."""
        return reach.registry(self._kubectl)

    def switches(self, version: int) -> AbstractContextManager[Sequence[RemoteSwitch]]:
        """Those of all pods."""
        return reach.switches(self._kubectl, self._name, version)

    def freshness(self) -> Remembered:
        """Out of the object's status."""
        told = self._client.look().status.freshness
        if told is None:
            raise PlatformError(
                f"No operator has looked yet at how fresh the model of {self._name} is. Try again soon."
            )
        return unpacked(told)

    def drift(self) -> Drift:
        """Out of the object's status."""
        told = self._client.look().status.drift
        if told is None:
            raise PlatformError(f"No operator has looked yet at the inputs of {self._name}. Try again soon.")
        return drift.unpacked(told)

    def retrain(self, *, override: bool) -> str:
        """Ask the operator, and wait until it has taken the wish on."""
        with console.status("asking the operator") as waiting:
            self._client.retrain(waiting.update, override=override)
        return "The operator has taken the wish on, and starts a run at once."

    def workflows(self) -> "Workflows":
        """Those of Argo."""
        from perch.workflows.argo import Argo

        return Argo(self._kubectl)

    def route(self, url: str | None) -> tuple[str, str | None]:
        """The Gateway's address, and the service's own host."""
        now = self._client.look()
        return url or reach.route_url(self._kubectl, now), now.hostname

    def events(self) -> AbstractContextManager[EventsClient]:
        """Of the collector that the operator runs."""
        return reach.events(self._kubectl, self._name)

    def inspecting(self) -> AbstractContextManager[InspectingClient]:
        """Of the collector that the operator runs."""
        return reach.inspecting(self._kubectl, self._name)

    def feedback_token(self) -> str | None:
        """The one that the operator has made for the service's collector."""
        return reach.feedback_token(self._kubectl, self._name)

    @cached_property
    def _name(self) -> str:
        return self._service or declared(self._declaration).name

    @cached_property
    def _client(self) -> ClusterClient:
        return ClusterClient(self._kubectl, self._name)
