"""What is done about a pod that is worse than the others of its version."""

from perch.adapters.fleet.port import Fleet
from perch.core.types import Arm, Observation
from perch.errors import PlatformError
from perch.rollout.attempt import Attempt


async def take_out(pod: str, fleet: Fleet, before: Attempt, observation: Observation) -> str:
    """Have the fleet take a pod out, and say so; `before` and `observation` are what it was convicted on.

    A fleet that cannot do it stops nothing: then the sentence says why, for a person to do it.
    """
    version = before.deployed[_arm(pod, before, observation)]
    sentence = f"Pod {pod} of version {version} is to be taken out: it does worse than the version's other pods."
    try:
        await fleet.eject(version, pod)
    except PlatformError as error:
        return f"{sentence} {error}"
    return sentence


def _arm(pod: str, before: Attempt, observation: Observation) -> Arm:
    """The arm that counted the pod, in this tick or before."""
    known = [(arm, pods.known.keys()) for arm, pods in before.state.pods.items()]
    counted = [(arm, pods.keys()) for arm, pods in observation.pods.items()]
    return next(arm for arm, names in counted + known if pod in names)
