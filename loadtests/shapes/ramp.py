"""Ten steps up to the plan's full rate: where the latency leaves the ground is what the service can take."""

import math

from locust import LoadTestShape

from perch.load.plan import Plan

STEPS = 10
STEP_S = 15.0


class Ramp(LoadTestShape):
    """A tenth of the users more in every step. Each user keeps its own rate."""

    users = Plan.from_environment().users

    def tick(self) -> tuple[int, float] | None:
        """The number of users now, and how many of them start per second; `None` at the end."""
        step = int(self.get_run_time() // STEP_S) + 1
        return (math.ceil(self.users * step / STEPS), self.users) if step <= STEPS else None
