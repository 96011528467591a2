"""`perch freshness`: how old the model is, what that costs, and when it is trained anew."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from perch.adapters.registry.port import Role
from perch.cli.options import console
from perch.cli.target import Target
from perch.core.policy import FreshnessPolicy
from perch.core.staleness import age_s, length, loss_per_hour, tokens
from perch.errors import RegistryError, UsageError
from perch.freshness.remembered import Remembered
from perch.freshness.watch import LOSS_TAG
from perch.pipeline.ingest import ingest
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.staleness import Backtest, backtest
from perch.settings import ModelService


def tell_freshness(target: Target) -> None:
    """Print how fresh the model is; raises `PlatformError` where nobody watches over it."""
    told, policy = target.freshness(), target.declaration().spec.training.freshness
    for name, text in _lines(told, policy, time.time()):
        console.print(f"{name:<14}{text}", highlight=False, markup=False)


def _lines(told: Remembered, policy: FreshnessPolicy, now_s: float) -> Iterator[tuple[str, str]]:
    state = told.state
    measured = (
        "as backtested" if state.loss_per_hour is not None else "declared; measure it: perch freshness --backtest"
    )
    yield "version", str(state.version)
    yield "age", f"{length(age_s(state, now_s))}, which has cost {state.lost_clicks:.1f} clicks"
    yield "an hour costs", f"{loss_per_hour(state, policy):.4g} clicks in a thousand impressions, {measured}"
    yield "a run costs", f"{policy.run_price_clicks:g} clicks, as declared"
    yield "budget", f"{tokens(state, policy, now_s):.1f} of {policy.runs_per_day} runs a day are left"
    yield "due by age", f"{datetime.fromtimestamp(told.due_s, tz=UTC):%Y-%m-%d %H:%M} UTC"
    yield "decay", _decay(told)
    yield "drift", "not known yet" if state.drift.psi is None else f"stability index {state.drift.psi:.2f}"
    if state.ended is not None:
        how = "succeeded" if state.ended.succeeded else f"did not succeed: {state.ended.message}"
        yield "last run", f"{state.ended.name}, {length(now_s - state.ended.ended_s)} ago, {how}"
    if state.seen_s is not None:
        yield "looked at", f"{length(now_s - state.seen_s)} ago"
    yield "next", state.sentence if policy.automatic else f"{state.sentence} (automatic: false)"


def _decay(told: Remembered) -> str:
    decay = told.state.decay
    if decay.is_silent:
        return "not known: no clicks come in"
    if decay.bounds is None or decay.recent is None:
        return f"not known yet: of requests with final labels, {decay.seen.expected:.0f} clicks were predicted so far"
    low, high = decay.bounds
    return f"{decay.recent:.2f} clicks come for each that is predicted; {low:.2f} to {high:.2f} when it was new"


def measure_and_tell(target: Target, declaration: ModelService, data: str | None, data_format: str | None) -> None:
    """Backtest on a click log, write what an hour costs to the champion, and print it.

    Raises:
        UsageError: no log is named or declared.
        DataError: the log cannot be used.
        RegistryError: the registry does not answer, or has no champion.
    """
    spec = declaration.spec
    location, layout = data or spec.training.data, data_format or spec.training.format
    if location is None:
        raise UsageError("A backtest needs a click log. Name one with --data, or declare it as spec.training.data.")
    settings = PipelineSettings(seed=spec.training.seed, attribution_window_s=spec.attribution_window_s)
    with target.registry() as registry, console.status("opening the registry") as waiting:
        champion = registry.holder(spec.model, Role.CHAMPION)
        if champion is None:
            raise RegistryError(f"{spec.model} has no champion that could age. Train one with `perch train`.")
        waiting.update("reading the log")
        log = ingest(Source(location, layout), target.folder / "backtest")
        found = backtest(log.load(), log.schema, champion.kind, settings, waiting.update)
        registry.note(spec.model, champion.version, LOSS_TAG, f"{found.loss_per_hour:.6g}")
    _tell_backtest(found, champion.kind)


def _tell_backtest(found: Backtest, kind: str) -> None:
    for age_h, loss in zip(found.ages_h, found.losses, strict=True):
        console.print(f"{kind}, {age_h:6.1f} h older: log loss {loss:.5f}", highlight=False)
    low, high = (max(bound, 0.0) for bound in (found.loss_per_hour_interval.low, found.loss_per_hour_interval.high))
    console.print(
        f"An hour of age costs {found.loss_per_hour:.4g} clicks in a thousand impressions ({low:.4g} to {high:.4g}),"
        f" judged on {found.rows:,} rows. It is written to the champion, and counts from the next look on.",
        highlight=False,
    )
