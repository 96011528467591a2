"""`perch drift`: how the inputs of a service stand against those of its training, and of the champion."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from perch.cli.options import console
from perch.cli.target import Target
from perch.core.attributions import AttributionReading
from perch.core.inputs import Finding, Reading, State, findings
from perch.drift.remembered import Remembered
from perch.errors import PlatformError

_ROW = "{:<24} {:<9} {:>6} {:>6} {:>6} {:>9} {:>9}  {}"
_ADDED_ROW = "{:<24} {:>7} {:>7} {:>9} {:>7} {:>7} {:>9}  {}"
_ADDED_HEAD = _ADDED_ROW.format("input", "adds", "was", "magnitude", "was", "differs", "tolerated", "drifts since")
_HEAD = _ROW.format("input", "against", "PSI", "limit", "JS", "missing", "was", "drifts since")


def tell_drift(target: Target, *, as_json: bool) -> None:
    """Print how the inputs stand; raises `PlatformError` where nobody watches them."""
    told = target.drift()
    if as_json:
        print(json.dumps(_plain(told), indent=2))  # noqa: T201  for programs
    else:
        for line in _lines(told):
            console.print(line, highlight=False, markup=False)


def drifting(target: Target) -> tuple[str, ...]:
    """A sentence for each input that drifts; none where nobody watches them, or nobody answers."""
    try:
        return tuple(_since(finding) for finding in findings(target.drift().state))
    except PlatformError:
        return ()


def _plain(told: Remembered) -> dict[str, Any]:
    state = told.state
    return {
        "champion": state.champion,
        "canary": state.canary,
        "looked_s": state.looked_s,
        "sentence": told.sentence,
        "drifts": [asdict(finding) for finding in findings(state)],
        "readings": [_reading(reading) for reading in state.readings.values()],
        "attributions": [_reading(reading) for reading in state.attributions.values()],
    }


def _reading(reading: Reading | AttributionReading) -> dict[str, Any]:
    return {name: value for name, value in asdict(reading).items() if name not in {"ratios", "streak"}}


def _lines(told: Remembered) -> Iterator[str]:
    if told.state.looked_s is None:
        yield "No window of inputs is full yet: one takes five minutes, and 200 requests."
        return
    yield _HEAD
    yield from _rows(told.state)
    yield from _attributions(told.state)
    yield ""
    yield told.sentence
    yield from (_since(finding) for finding in findings(told.state) if finding.sentence not in told.sentence)


def _rows(state: State) -> Iterator[str]:
    """Columns, then pairs; those nearest to their limit first."""
    for reading in sorted(state.readings.values(), key=lambda r: (bool(r.other), -r.psi / r.limit)):
        name = f"{reading.feature} + {reading.other}" if reading.other else reading.feature
        since = "" if not reading.drifts or reading.since_s is None else _moment(reading.since_s)
        shares = ("", "") if reading.other else (f"{reading.missing:.1%}", f"{reading.missing_before:.1%}")
        figures = (f"{reading.psi:.3f}", f"{reading.limit:.3f}", f"{reading.jensen_shannon:.3f}")
        yield _ROW.format(name, reading.against, *figures, *shares, since).rstrip()


def _attributions(state: State) -> Iterator[str]:
    """What inputs add, that furthest from training first."""
    if state.attributions:
        yield ""
        yield _ADDED_HEAD
    for reading in sorted(state.attributions.values(), key=lambda r: -r.difference / r.limit):
        since = "" if not reading.drifts or reading.since_s is None else _moment(reading.since_s)
        means = (f"{reading.mean:+.3f}", f"{reading.trained_mean:+.3f}")
        magnitudes = (f"{reading.magnitude:.3f}", f"{reading.trained_magnitude:.3f}")
        limit = (f"{reading.difference:.3f}", f"{reading.limit:.3f}")
        yield _ADDED_ROW.format(reading.feature, *means, *magnitudes, *limit, since).rstrip()


def _since(finding: Finding) -> str:
    return f"Since {_moment(finding.since_s)}: {finding.sentence}"


def _moment(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, tz=UTC):%Y-%m-%d %H:%M} UTC"
