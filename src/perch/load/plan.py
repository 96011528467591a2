"""What a load test is told. It travels to Locust, which runs in a process of its own, in one environment variable."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from perch.core.policy import Slo
from perch.errors import LoadError

VARIABLE = "PERCH_LOAD"
"""Environment variable with the plan as a JSON object, for example
`{"payloads": "slates.jsonl", "rps": 50, "users": 20}`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard to press, with what, and what is allowed."""

    payloads: str
    """File with one JSON body a line."""

    rps: float
    """Requests per second of all users together."""

    users: int
    """Simulated users; each waits for its answer before it sends again."""

    slo: Slo = field(default_factory=Slo)
    """The promise that the run is held against."""

    out: str | None = None
    """File for the result. Without it nothing is judged."""

    host: str | None = None
    """Host that the requests name, where the URL has another one."""

    @property
    def interval_s(self) -> float:
        """Time between two requests of one user, in seconds."""
        return self.users / self.rps

    def to_environment(self) -> dict[str, str]:
        """This process's environment and the plan."""
        return os.environ | {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """The plan that this process was given.

        Raises:
            LoadError: There is none, or it cannot be read.
        """
        try:
            told = json.loads(os.environ[VARIABLE])
            plan = cls(**told | {"slo": Slo(**told.get("slo", {}))})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LoadError(
                f"The load test was given no plan ({error!r}): "
                f'set {VARIABLE}=\'{{"payloads": "slates.jsonl", "rps": 50, "users": 20}}\'.'
            ) from error
        return plan.checked()

    def checked(self) -> Self:
        """The plan itself.

        Raises:
            LoadError: It cannot be followed.
        """
        if self.rps <= 0 or self.users < 1:
            raise LoadError(f"{self.rps:g} requests/s by {self.users} users is no load: both must be positive.")
        return self

    def bodies(self) -> list[bytes]:
        """The request bodies, in the order of the file.

        Raises:
            LoadError: The file is missing or empty, or a line is not JSON.
        """
        try:
            lines = [line for line in Path(self.payloads).read_bytes().splitlines() if line.strip()]
        except OSError as error:
            raise LoadError(
                f"The payloads {self.payloads} cannot be read ({error.strerror}): give another file."
            ) from error
        if not lines:
            raise LoadError(f"The payloads {self.payloads} are empty: write one JSON request body a line.")
        for number, line in enumerate(lines, 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise LoadError(f"Payload {number} of {self.payloads} is not JSON ({error}): correct it.") from error
        return lines
