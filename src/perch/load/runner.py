"""Runs Locust without its page, in a process of its own: it replaces the standard library's sockets by gevent's."""

import json
import math
import subprocess
import sys
from pathlib import Path

from perch.core.policy import Slo
from perch.errors import LoadError
from perch.load.plan import Plan
from perch.load.result import LoadResult

GRACE_S = 60.0
"""How much longer than the load itself Locust may take to start and to wait for the last answers, in seconds."""

_STOP_TIMEOUT_S = 12
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def run(
    target_url: str,
    *,
    rps: float,
    duration_s: float,
    users: int,
    slo: Slo,
    payloads: Path,
    out: Path,
    host: str | None = None,
) -> LoadResult:
    """Press on `target_url` and say whether the SLO was kept. A run that breached it returns with `passed` false.

    Requests are sent on a fixed schedule and measured from when they were due, see `perch.load.users`.

    Args:
        target_url: Where the route is, for example `http://127.0.0.1:8080`; slates are posted to its `/rank`.
        rps: Requests per second, evenly spread.
        duration_s: How long to send.
        users: Simulated users. With an SLO of `l` seconds take at least `rps * l`, or they cannot keep the schedule.
        slo: What users were promised.
        payloads: JSON-lines file, one request body a line, sent in turn.
        out: Where the result is kept as JSON; Locust's own log lies beside it as `.log`.
        host: Host that the requests name, where `target_url` has another one.

    Raises:
        LoadError: The load cannot be run as asked, or Locust ended without a result.
    """
    plan = Plan(str(payloads.resolve()), rps, users, slo, str(out.resolve()), host).checked()
    plan.bodies()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    log = out.with_suffix(".log")
    _locust(plan, target_url, duration_s, log)
    try:
        return LoadResult(**json.loads(out.read_text(encoding="utf-8")))
    except FileNotFoundError as missing:
        raise LoadError(f"Locust ended without a result; {log} says why: {_last_line(log)}") from missing


def _locust(plan: Plan, target_url: str, duration_s: float, log: Path) -> None:
    options = {
        "--locustfile": _LOCUSTFILE,
        "--host": target_url,
        "--users": plan.users,
        "--spawn-rate": plan.users,
        "--run-time": f"{math.ceil(duration_s)}s",
        "--stop-timeout": _STOP_TIMEOUT_S,
    }
    arguments = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", *arguments]
    with log.open("wb") as sink:
        try:
            subprocess.run(
                command,
                env=plan.to_environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=duration_s + GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise LoadError(
                f"Locust did not end {GRACE_S:.0f} s after the load did; {log} says how far it came."
            ) from late


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it is empty."
