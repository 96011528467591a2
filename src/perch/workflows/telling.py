"""How a workflow's end is told: a sentence, posted to a webhook as `{"text": ...}`, as Slack and its like want it."""

import json
import os
from typing import Any, Final

import httpx

from perch.errors import PlatformError

NOTIFY: Final = "PERCH_NOTIFY_URL"
"""Variable with the webhook's address; nobody is told without it."""

_TIMEOUT_S: Final = 10.0


def sentence_of(name: str, status: str, failures: str) -> str:
    """One sentence: which workflow ended how, and the first reason.

    Args:
        name: The workflow's.
        status: As Argo says it: `Succeeded`, `Failed` or `Error`.
        failures: JSON list of the nodes that failed, each with `message`; `null` when none did. Argo tells it as a JSON
            text within a JSON text.
    """
    if status == "Succeeded":
        return f"{name} has succeeded."
    told = json.loads(failures)
    nodes: list[dict[str, Any]] = (json.loads(told) if isinstance(told, str) else told) or []
    said = next((node["message"] for node in nodes if node.get("message")), "nothing was said")
    return f"{name} has failed: {said}"


def notify(sentence: str) -> None:
    """Post a sentence; raises `PlatformError` when the webhook does not take it."""
    url = os.environ.get(NOTIFY)
    if not url:
        return
    try:
        answer = httpx.post(url, json={"text": sentence}, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # neither is quoted: who knows the address may post, too
        raise PlatformError(f"Nobody was told {sentence!r}: the webhook fails with {type(error).__name__}.") from None
    if answer.is_error:
        raise PlatformError(f"Nobody was told {sentence!r}: the webhook answers {answer.status_code}.")
