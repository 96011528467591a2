"""One way to decide, in one seeded market: what it lost, and how many runs it took."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from benchmarks.freshness.market import LiveMarket, Requests, Scenario
from benchmarks.freshness.policies import CHOOSERS, ended

from perch.core.decay import Matured
from perch.core.freshness_types import Signals
from perch.core.staleness import HOUR_S
from perch.errors import DataError
from perch.pipeline.features import prepare
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.staleness import backtest
from perch.pipeline.train import fit
from perch.workload.metrics import log_losses
from perch.workload.model import Scorer
from perch.workload.schema import CLICK_LOG

KIND: Final = "lightgbm"
WINDOW_H: Final = 48
_SETTINGS = PipelineSettings(evaluation_share=0.1, keep_rate=1.0, resamples=50)
"""Two days are little: nothing of them is left out, and a tenth is enough to judge by."""

_MATURE_H = int(_SETTINGS.attribution_window_s // HOUR_S)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    chooser: str
    seed: int
    regret: float
    """Clicks lost against choosing by the true click rate, in all live days."""

    regret_by_day: tuple[float, ...]
    unknowable: float
    """That part of the regret which nobody avoids who knows only what the columns tell, at the least."""

    clicks_possible: float
    """Clicks that choosing by the true click rate gets."""

    divergence: float
    """Excess log loss of the scores of what was shown, in nats, summed."""

    runs: int
    refused: int
    """Runs whose model was not offered."""

    refused_while_broken: int
    """Of those, the ones that the broken feed had refused."""

    released_while_broken: int
    loss_per_hour: float
    """As backtested at the begin."""

    reasons: tuple[str, ...]
    """Hour and sentence of each start that was not by a schedule."""


class _Service:
    """A model that serves, and the run that may replace it."""

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.market = LiveMarket(seed, scenario)
        past = self.market.log(0, 24 * scenario.warm_days)
        self.loss_per_hour = backtest(past, CLICK_LOG, KIND, _SETTINGS).loss_per_hour
        self.champion, self.version, self.trained_hour = self._train(0), 1, 0
        self.candidate: Scorer | None = None
        self.began: int | None = None
        self.refusals: list[tuple[int, str]] = []
        self.releases: list[int] = []

    def _train(self, hour: int) -> Scorer:
        prepared = prepare(self.market.log(hour, WINDOW_H), CLICK_LOG, _SETTINGS, data_digest="", kinds=(KIND,))
        candidate = fit(prepared, KIND, _SETTINGS)
        if hour:
            new, old = (
                log_losses(
                    prepared.evaluation_clicked, one.predict(one.transform.transform_frame(prepared.evaluation).values)
                ).mean()
                for one in (candidate, self.champion)
            )
            if new > old:
                raise DataError(f"its log loss is {new:.4f}, and the champion's {old:.4f}")
        return candidate

    def begin(self, hour: int) -> None:
        """Start a run on the log of now; its model serves an hour later."""
        self.began = hour
        try:
            self.candidate = self._train(hour)
        except DataError as error:
            self.candidate = None
            self.refusals.append((hour, str(error)))

    def end(self) -> bool | None:
        """Let the run of the last hour end; whether it released a model, `None` when there was none."""
        if self.began is None:
            return None
        released = self.candidate is not None
        if self.candidate is not None:
            self.champion, self.version, self.trained_hour = self.candidate, self.version + 1, self.began
            self.releases.append(self.began)
        self.candidate, self.began = None, None
        return released


def measure(job: tuple[Scenario, str, int]) -> Result:
    """Run one way to decide through the live days of one market."""
    scenario, name, seed = job
    chooser, service = CHOOSERS[name](), _Service(seed, scenario)
    regrets: list[float] = []
    possible = divergence = unknowable = 0.0
    waiting: list[tuple[int, Requests]] = []
    runs, reasons = 0, []
    signals = Signals(version=1, trained_s=0.0, loss_per_hour=service.loss_per_hour)
    for hour in range(24 * scenario.live_days):
        released = service.end()
        if released is not None:
            signals = replace(signals, ended=ended(hour, succeeded=released))
        signals = replace(signals, version=service.version, trained_s=service.trained_hour * HOUR_S)
        why = chooser.wants(hour, signals)
        if why is not None:
            runs += 1
            service.begin(hour)
            reasons.append(f"{hour}: {why}")
        served = service.market.serve(hour, service.champion)
        regrets.append(served.regret)
        possible, divergence = possible + served.clicks_possible, divergence + served.divergence
        unknowable += served.unknowable
        waiting.append((service.version, served.requests))
        signals = Signals(
            version=service.version,
            impressions=served.impressions,
            matured=_matured(waiting, hour, scenario, service.version),
            scores=served.scores,
        )
    broken = range(scenario.broken_h[0] + 1, scenario.broken_h[1] + 1)
    return Result(
        chooser=name,
        seed=seed,
        regret=sum(regrets),
        regret_by_day=tuple(np.array(regrets).reshape(-1, 24).sum(axis=1).tolist()),
        unknowable=unknowable,
        clicks_possible=possible,
        divergence=divergence,
        runs=runs,
        refused=len(service.refusals),
        refused_while_broken=sum("feed" in why and hour in broken for hour, why in service.refusals),
        released_while_broken=sum(hour in broken[_MATURE_H:] for hour in service.releases),
        loss_per_hour=service.loss_per_hour,
        reasons=tuple(why for why in reasons if not why.endswith("scheduled")),
    )


def _matured(waiting: list[tuple[int, Requests]], hour: int, scenario: Scenario, version: int) -> Matured:
    """The requests whose labels became final in this hour, if the champion answered them."""
    if hour < _MATURE_H:
        return Matured()
    answered_by, requests = waiting[hour - _MATURE_H]
    if answered_by != version:
        return Matured()
    begin, end = scenario.broken_h
    told = 0 if begin <= hour < end else int(requests.clicked.sum())
    return Matured(len(requests.clicked), told, float(requests.expected.sum()))
