"""The fault switches of a running serving process, from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from perch.errors import PlatformError

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RemoteSwitch:
    """Where one process is broken on purpose, and mended."""

    url: str
    """Of the process, such as `http://127.0.0.1:43617`."""

    token: str

    def set(self, faults: Mapping[str, Any]) -> None:
        """Break what is named, as `PUT /faults` takes it, and mend all else.

        Raises:
            PlatformError: the process does not answer, or does not let itself be broken.
        """
        try:
            answer = httpx.put(
                f"{self.url}/faults",
                json=dict(faults),
                headers={"authorization": f"Bearer {self.token}"},
                timeout=_TIMEOUT_S,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise PlatformError(f"The process at {self.url} does not answer: {error}. Does it run?") from None
        if answer.is_error:
            raise PlatformError(f"The process at {self.url} cannot be broken on purpose: {_reason(answer)}")


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"it answers {answer.status_code}."
