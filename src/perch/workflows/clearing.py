"""Removes what steps handed on days ago from MLflow's artifact store, where Argo can put it but not delete it."""

import os
from datetime import UTC, date, datetime, timedelta
from typing import Final

import httpx

from perch.errors import PlatformError

ARTIFACTS: Final = "PERCH_ARTIFACTS"
"""Variable with MLflow's address, where steps hand on by its store; nothing is removed without it."""

_STORE: Final = "/api/2.0/mlflow-artifacts/artifacts"
_FOLDER: Final = "workflows"
_KEPT: Final = timedelta(days=7)
_TIMEOUT_S: Final = 60.0


def clear(namespace: str, today: date) -> list[str]:
    """Remove the folders of days long gone, which are called after them; returns their names.

    Raises:
        PlatformError: the store does not answer, or refuses.
    """
    address = os.environ.get(ARTIFACTS)
    if not address:
        return []
    try:
        with httpx.Client(base_url=address, timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = client.get(_STORE, params={"path": f"{_FOLDER}/{namespace}"}).raise_for_status()
            names = [one["path"].rpartition("/")[2] for one in answer.json().get("files", ())]
            old = [name for name in names if _day(name) < today - _KEPT]
            for name in old:
                client.delete(f"{_STORE}/{_FOLDER}/{namespace}/{name}").raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise PlatformError(
            f"Old artifacts stay: the store fails with {type(error).__name__}. See {ARTIFACTS}."
        ) from None
    return old


def _day(name: str) -> date:
    try:
        return datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:  # whatever else somebody keeps there
        return date.max
