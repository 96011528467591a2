"""What Locust runs: users who rank slates, and a recorder that judges them when the plan asks for a result."""

from pathlib import Path
from typing import Any

import gevent
from locust import events

from perch.load.recorder import Recorder
from perch.load.users import RankUser

__all__ = ["RankUser"]


def _prepare(environment: Any, **_: object) -> None:  # noqa: ANN401  Locust's types are not followed
    # Locust sets its alarm for the end by the loop's clock, which stood still during the imports of the last seconds.
    gevent.get_hub().loop.update_now()
    plan = RankUser.plan
    if plan.out is not None:
        Recorder(plan, Path(plan.out)).listen(environment.events)


events.init.add_listener(_prepare)
