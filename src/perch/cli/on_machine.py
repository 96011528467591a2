"""A service on the local platform."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perch.adapters.events.client import EventsClient
from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.fleet.switch import RemoteSwitch
from perch.adapters.registry.port import ModelRegistry
from perch.cli.options import declared
from perch.core.types import Command
from perch.drift.remembered import Remembered as Drift
from perch.errors import PlatformError
from perch.freshness.remembered import Remembered
from perch.local.client import connect
from perch.local.store import open_registry
from perch.rollout.history import find_ledger
from perch.settings import ModelService, to_yaml

if TYPE_CHECKING:
    from perch.cli.target import Workflows


class OnMachine:
    """The service of one platform's folder. See `Target` for what its methods promise."""

    options = ""
    bring_up = "perch up"

    def __init__(self, declaration: Path, folder: Path) -> None:
        self.folder = folder
        self._declaration = declaration

    def declaration(self) -> ModelService:
        """The declaration file."""
        return declared(self._declaration)

    def differences(self, wish: ModelService) -> list[str]:  # noqa: ARG002
        """None: the policy goes with a release, and what cannot change is refused."""
        return []

    def status(self) -> dict[str, Any]:
        """As the control server tells it."""
        return connect(self.folder).status()

    def release(self, wish: ModelService, *, override: bool) -> str:
        """Hand the declaration to the control server."""
        return connect(self.folder).release(to_yaml(wish), override=override)

    def retry(self, wish: ModelService, *, override: bool) -> tuple[str, str]:
        """Hand the declaration to the control server."""
        return connect(self.folder).retry(to_yaml(wish), override=override)

    def command(self, command: Command) -> None:
        """Hand the command to the control server."""
        connect(self.folder).command(command)

    @contextmanager
    def ledgers(self) -> Iterator[Path]:
        """The folder itself, also when no platform runs."""
        yield self.folder

    @contextmanager
    def ledger(self, name: str | None) -> Iterator[Path]:
        """A file in the folder, also when no platform runs."""
        yield find_ledger(self.folder, name)

    @contextmanager
    def registry(self) -> Iterator[ModelRegistry]:
        """The store in the folder, also when no platform runs."""
        yield open_registry(self.folder)

    @contextmanager
    def switches(self, version: int) -> Iterator[Sequence[RemoteSwitch]]:
        """The switch of the version's one process."""
        address = self.status()["versions"].get(str(version))
        if address is None:
            raise PlatformError(f"Version {version} does not run, so there is nothing to break. See: perch status")
        yield [RemoteSwitch(f"http://{address}", (self.folder / "token").read_text(encoding="utf-8"))]

    def freshness(self) -> Remembered:
        """As the control server tells it."""
        return connect(self.folder).freshness()

    def drift(self) -> Drift:
        """As the control server tells it."""
        return connect(self.folder).drift()

    def retrain(self, *, override: bool) -> str:
        """Hand the wish to the control server."""
        return connect(self.folder).retrain(override=override)

    def workflows(self) -> "Workflows":
        """Processes of this machine."""
        from perch.workflows.machine import Machine

        return Machine(self._declaration, self.folder)

    def route(self, url: str | None) -> tuple[str, str | None]:
        """Envoy's port."""
        return url or connect(self.folder).record.route_url, None

    @contextmanager
    def events(self) -> Iterator[EventsClient]:
        """The platform's own collector."""
        url = str(self.status()["collector"])
        with EventsClient(url, (self.folder / "token").read_text(encoding="utf-8")) as client:
            yield client

    @contextmanager
    def inspecting(self) -> Iterator[InspectingClient]:
        """The platform's own collector."""
        url = str(self.status()["collector"])
        with InspectingClient(url, (self.folder / "judge-token").read_text(encoding="utf-8")) as client:
            yield client

    def feedback_token(self) -> str | None:
        """The one that `perch up` has made."""
        return (self.folder / "feedback-token").read_text(encoding="utf-8")
