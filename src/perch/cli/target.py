"""What a person can ask of a service, wherever it runs."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perch.core.types import Command
from perch.settings import ModelService

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perch.adapters.events.client import EventsClient
    from perch.adapters.events.inspecting import InspectingClient
    from perch.adapters.fleet.switch import RemoteSwitch
    from perch.adapters.registry.port import ModelRegistry
    from perch.drift.remembered import Remembered as Drift
    from perch.freshness.remembered import Remembered
    from perch.workflows.local.runner import Progress
    from perch.workflows.schedule import Every


class Workflows(Protocol):
    """Runs workflows, on this machine or on a cluster."""

    def run(
        self, workflow: str, parameters: "Mapping[str, str]", progress: "Progress", *, resume: bool
    ) -> "Mapping[str, str]":
        """Run one to its end; returns its output parameters. Raises `PerchError` when a step fails."""
        ...

    def repeat(self, service: str, every: "Every | None", memory: str) -> str:
        """Retrain a service by a schedule from now on, or no longer; returns what to tell of it."""
        ...


class Target(Protocol):
    """A service, on this machine or on a cluster. All raise `PlatformError` where nobody answers."""

    folder: Path
    """Where files of this machine go."""

    options: str
    """What a command has to say to mean the same service, such as ` --context prod`."""

    bring_up: str
    """The command that brings the service up."""

    def declaration(self) -> ModelService:
        """What is declared there."""
        ...

    def differences(self, wish: ModelService) -> list[str]:
        """Keys that `wish` sets to something else than what is in force there, and that a release leaves alone."""
        ...

    def status(self) -> dict[str, Any]:
        """Where the service stands, as the control server tells it."""
        ...

    def release(self, wish: ModelService, *, override: bool) -> str:
        """Begin the rollout of the wanted version; returns its name. Raises `RolloutError` when it is refused."""
        ...

    def retry(self, wish: ModelService, *, override: bool) -> tuple[str, str]:
        """Begin the last rollout that did not end in promotion again; returns the new name and the old one."""
        ...

    def command(self, command: Command) -> None:
        """Pause, resume, promote or roll back; raises `RolloutError` when there is no rollout."""
        ...

    def ledgers(self) -> AbstractContextManager[Path]:
        """A folder with the recorded rollouts."""
        ...

    def ledger(self, name: str | None) -> AbstractContextManager[Path]:
        """The ledger of one rollout, of the last one without a name; raises `UsageError` when there is none."""
        ...

    def registry(self) -> "AbstractContextManager[ModelRegistry]":
        """The registry of its models."""
        ...

    def switches(self, version: int) -> "AbstractContextManager[Sequence[RemoteSwitch]]":
        """The fault switches of all processes of a version."""
        ...

    def freshness(self) -> "Remembered":
        """How fresh its model is."""
        ...

    def drift(self) -> "Drift":
        """How its inputs stand."""
        ...

    def retrain(self, *, override: bool) -> str:
        """Ask for a run that trains anew; returns what is to be told of it. Raises `RolloutError` when refused."""
        ...

    def workflows(self) -> "Workflows":
        """Where its workflows run."""
        ...

    def route(self, url: str | None) -> tuple[str, str | None]:
        """URL that requests go to, `url` if it is given; and the host that they name, where the URL has another."""
        ...

    def events(self) -> "AbstractContextManager[EventsClient]":
        """Its collector, opened for exports and deletion."""
        ...

    def inspecting(self) -> "AbstractContextManager[InspectingClient]":
        """Its collector, opened for samples of its requests."""
        ...

    def feedback_token(self) -> str | None:
        """Opens the route for outcomes; `None` where nobody collects them."""
        ...
