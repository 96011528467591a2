"""A user who asks on schedule, and is measured against the schedule.

A user that waits for a slow answer sends less, and so hides from the percentiles the very requests that a real crowd
would have sent meanwhile: coordinated omission (Tene, "How NOT to measure latency"). Here every request has a time at
which it is due. It is sent then, or as soon as the one before is answered, and its latency counts from when it was due.
"""

import time
from itertools import count
from typing import ClassVar

from locust import FastHttpUser, task

from perch.load.plan import Plan

PATH = "/rank"


class RankUser(FastHttpUser):  # type: ignore[misc]  # its types are not followed
    """Posts slates to `/rank`, one every `plan.interval_s` seconds; all users together are evenly spread."""

    connection_timeout = network_timeout = 10.0
    plan: ClassVar[Plan] = Plan.from_environment()
    bodies: ClassVar[list[bytes]] = plan.bodies()
    numbers: ClassVar = count()

    def on_start(self) -> None:
        """Take a place in the schedule: user i is due i / rps seconds into each interval."""
        self.number = next(self.numbers) % self.plan.users
        self.sent = 0
        place_s, now_s = self.number / self.plan.rps, time.perf_counter()
        self.due_s = now_s + (place_s - now_s) % self.plan.interval_s
        time.sleep(self.due_s - now_s)

    def wait_time(self) -> float:
        """Seconds until the next request is due; none when it is late."""
        return max(0.0, self.due_s - time.perf_counter())

    @task  # type: ignore[untyped-decorator]
    def rank(self) -> None:
        """Send the slate that is due now."""
        body = self.bodies[(self.number + self.sent * self.plan.users) % len(self.bodies)]
        headers = {"content-type": "application/json"} | ({"host": self.plan.host} if self.plan.host else {})
        with self.client.post(PATH, data=body, headers=headers, catch_response=True) as response:
            response.request_meta["response_time"] = (time.perf_counter() - self.due_s) * 1_000
        self.sent += 1
        self.due_s += self.plan.interval_s
