"""A release from its wish to its end. A step may be run again at any point, so each part finds what is done already."""

import time
from collections.abc import Callable
from typing import Any, Final

from perch.adapters.cluster.kubectl import MissingError
from perch.adapters.registry.port import Role
from perch.core.types import Action, Arm, Phase
from perch.errors import PlatformError, RolloutError
from perch.pipeline.offer import refusal
from perch.workflows.place import Place

_LOOK_S: Final = 5.0
_SILENCE_S: Final = 300.0
"""For so long nobody may answer while a rollout goes on without us."""


def begin(place: Place, service: str, version: int | None) -> str:
    """Wish for a version, for the challenger without one; returns its rollout's name, or nothing when it serves.

    Raises:
        RolloutError: there is no challenger, or the release is refused.
        PlatformError: nobody answers.
    """
    now = place.status(service)
    wanted = _challenger(place, now["model"]) if version is None else version
    if now["arms"].get(Arm.STABLE) == wanted:
        return ""
    if _rolling(now) and now["arms"].get(Arm.CANARY) == wanted:
        return str(now["rollout"])
    return place.release(service, wanted)


def await_end(
    place: Place,
    service: str,
    rollout: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Wait until a rollout has ended, and return the sentence that it ended with.

    Raises:
        RolloutError: the version came home, another rollout has begun, or the service is gone.
        PlatformError: nobody has answered for five minutes.
    """
    if not rollout:
        return "The version serves already."
    heard_s = clock()
    while True:
        try:
            now = place.status(service)
            heard_s = clock()
        except MissingError:
            raise RolloutError(f"{service} is gone, and its rollout {rollout} with it.") from None
        except PlatformError:
            if clock() - heard_s > _SILENCE_S:
                raise
        else:
            if now["rollout"] != rollout:
                raise RolloutError(f"Rollout {now['rollout']} has begun. How {rollout} ended: perch why {rollout}")
            if not _rolling(now):
                return _end(now)
        sleep(_LOOK_S)


def _challenger(place: Place, model: str) -> int:
    version = place.registry().holder(model, Role.CHALLENGER)
    if version is None:
        raise RolloutError(f"No version of {model} asks for traffic. Train one: perch workflow run train")
    if Role.CHAMPION not in version.roles and (why := refusal(version)) is not None:
        raise RolloutError(
            f"Version {version.version} asks for traffic, and its gates refuse it: {why}. Train another one, or insist:"
            f" perch rollout start --version {version.version}"
        )
    return version.version


def _rolling(now: dict[str, Any]) -> bool:
    return now["phase"] not in {None, Phase.DONE}


def _end(now: dict[str, Any]) -> str:
    sentence = str(now["sentence"])
    if now["outcome"] != Action.PROMOTE:
        raise RolloutError(sentence)
    return sentence
