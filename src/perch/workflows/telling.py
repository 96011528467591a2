"""How a workflow's end is told: a sentence, posted to a webhook."""

import json
import time
from collections.abc import Mapping
from typing import Any

from perch.adapters.notify.message import Address
from perch.adapters.notify.webhook import post


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


def notify(sentence: str, about: Mapping[str, str]) -> None:
    """Post a sentence, to the address that the environment names, if it names one.

    Raises:
        PlatformError: the webhook does not take it.
    """
    address = Address.from_environment()
    if address is not None:
        post(address, sentence, about, time.time())
