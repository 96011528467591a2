"""Keeps every latency of a run as it was measured, and ends Locust with the verdict.

Locust's own percentiles are of rounded values; a promise in milliseconds deserves the exact ones.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perch.errors import LoadError
from perch.load.plan import Plan
from perch.load.result import LoadResult, judge


class Recorder:
    """Listens to the events of one Locust environment."""

    def __init__(self, plan: Plan, out: Path) -> None:
        self._plan, self._out = plan, out
        self._latencies_ms: list[float] = []
        self._failed = 0
        self._start_s = self._stop_s = 0.0

    def listen(self, events: Any) -> None:  # noqa: ANN401  Locust's types are not followed
        """Subscribe to `environment.events`."""
        events.test_start.add_listener(self._on_start)
        events.request.add_listener(self._on_request)
        events.test_stopping.add_listener(self._on_stopping)
        events.quitting.add_listener(self._on_quitting)

    def _on_start(self, **_: object) -> None:
        self._start_s = time.perf_counter()

    def _on_request(self, *, response_time: float, exception: Exception | None, **_: object) -> None:
        if exception is None:
            self._latencies_ms.append(response_time)
        else:
            self._failed += 1

    def _on_stopping(self, **_: object) -> None:
        self._stop_s = time.perf_counter()

    def _on_quitting(self, *, environment: Any, **_: object) -> None:  # noqa: ANN401  see `listen`
        result = self._result()
        beside = self._out.with_suffix(".partial")
        beside.write_text(json.dumps(asdict(result)), encoding="utf-8")
        beside.replace(self._out)
        environment.process_exit_code = 0 if result.passed else LoadError.exit_code

    def _result(self) -> LoadResult:
        return judge(
            self._latencies_ms,
            self._failed,
            elapsed_s=max(self._stop_s - self._start_s, 1e-9),
            target_rps=self._plan.rps,
            slo=self._plan.slo,
        )
