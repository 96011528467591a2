"""Judges the windows of one collector for as long as it runs: `python -m perch.judge`.

Everything is remembered by the collector: it says what is to be judged next, and takes no window twice. So a judge that
is killed, or runs twice, changes nothing but the time.
"""

import argparse
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perch import asgi
from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.registry.mlflow import MlflowRegistry
from perch.errors import PerchError, PlatformError, told_in_a_sentence
from perch.signals.judging import STRETCH_S, Judged, Window

if TYPE_CHECKING:
    from perch.judge.comparison import Compared

_NICE: Final = 10  # no request waits for it

_log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Judge until SIGTERM.

    Raises:
        UsageError: the token file cannot be read.
    """
    options = _parser().parse_args(arguments)
    os.nice(_NICE)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with InspectingClient(options.collector, asgi.await_token(options.token_file)) as client:
        reports = _Reports(options.registry, options.model) if options.registry else None
        while True:
            if not _judge_next(client, reports):
                time.sleep(STRETCH_S)


class _Reports:
    """Keeps Evidently's reports with the version that they are about, for a person."""

    def __init__(self, registry: str, model: str) -> None:
        self._registry = MlflowRegistry(registry)
        self._model = model

    def keep(self, compared: "Compared") -> None:
        """Keep one; what fails is told, and stops nothing."""
        judged, report = compared
        until = datetime.fromtimestamp(judged.until_s, UTC).strftime("%Y%m%d-%H%M%S")
        try:
            if report is not None:
                self._registry.keep_report(self._model, int(judged.canary), f"inputs-{until}.html", report)
        except PerchError as error:
            _log.warning("The report of this window is not kept. %s", error)


def _judge_next(client: InspectingClient, reports: _Reports | None) -> bool:
    """Judge a window, if there is one; returns whether there was."""
    try:
        window = client.window()
        if window is None:
            return False
        compared = _compared(window)
        client.judge(compared.judged)
    except PlatformError as error:
        _log.warning("The collector gives or takes nothing, and is asked again: %s", error)
        return False
    _log.info("p = %.3g: %s.", compared.judged.p_value, compared.judged.finding or "nothing to tell apart")
    if reports is not None:
        reports.keep(compared)
    return True


def _compared(window: Window) -> "Compared":
    """What is found out about a window. What Evidently cannot compare says nothing: p is 1, and the next one comes."""
    from perch.judge.comparison import Compared, compare  # Evidently takes ten seconds

    try:
        return compare(window)
    except Exception:  # noqa: BLE001  whatever it is, the next window comes
        _log.exception("Evidently cannot compare the window that ended at %.0f s.", window.until_s)
        return Compared(Judged(window.stable, window.canary, window.from_s, window.until_s, 1.0), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.judge", description="Judges windows of sampled inputs.")
    parser.add_argument("--collector", required=True, help="base URL of the collector")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the judge's bearer token")
    parser.add_argument("--registry", help="MLflow's address, which keeps the last reports; none: they are not kept")
    parser.add_argument("--model", default="", help="name of the registered model that the reports are about")
    return parser


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
