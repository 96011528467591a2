"""Releases versions one after another under live traffic and keeps what came of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from perch.core.types import Action, Phase, Verdict
from perch.demo.breaking import break_version
from perch.demo.scenarios import Scenario
from perch.demo.traffic import Tally, Traffic
from perch.errors import PlatformError
from perch.local.platform import Platform
from perch.rollout.ledger import entries
from perch.settings import Spec
from perch.ui.live import LiveView
from perch.ui.record import EvidencePoint, RolloutRecord, StoryLine, WeightPoint

Step = Callable[[str], AbstractContextManager[None]]

_LOOK_S = 0.25
_LONGEST_S = 150.0


class Releases:
    """Releases on a running platform, under running traffic."""

    def __init__(self, running: Platform, traffic: Traffic, spec: Spec, view: LiveView) -> None:
        self._platform = running
        self._traffic = traffic
        self._policy = spec.policy
        self._slo = spec.slo
        self._view = view
        self._usual = traffic.tally

    async def run_all(self, plan: Sequence[tuple[Scenario, int]], step: Step) -> AsyncIterator[RolloutRecord]:
        """Release one version after the other; each is warmed while the one before it is tried."""
        warm = self._platform.service.prepare
        warming = asyncio.create_task(warm(plan[0][1]))
        try:
            for (scenario, version), following in zip(plan, [*(v for _, v in plan[1:]), None], strict=True):
                with step(f"rollout: {scenario.name}"):
                    await warming
                    if following is not None:
                        warming = asyncio.create_task(warm(following))
                    record = await self.run(scenario, version)
                yield record
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)

    async def run(self, scenario: Scenario, version: int) -> RolloutRecord:
        """Release `version`, which is warm, as the scenario says and wait for the end.

        Raises:
            PlatformError: the rollout did not end in time, or a fault could not be switched on.
        """
        service = self._platform.service
        champion = service.status().arms["stable"]
        if faults := dict(scenario.faults) | self._slowness(scenario, champion):
            await break_version(self._platform, version, faults)
        tally, began_s = self._traffic.start_tally(), time.time()
        self._usual = tally
        name = await service.release(version, replace(self._policy, **scenario.policy), began_s)
        pending = {champion, version} if scenario.later_faults else set()
        while service.rolling:
            await asyncio.sleep(_LOOK_S)
            self._show(scenario)
            if pending and service.status().phase is Phase.GUARD:
                await asyncio.sleep(3.0)  # the guard sees the version healthy first
                for broken in pending:
                    await break_version(self._platform, broken, scenario.later_faults)
                pending = set()
            if time.time() - began_s > _LONGEST_S:
                raise PlatformError(f"Rollout {name} had not ended after {_LONGEST_S:.0f} s; its ledger says why.")
        self._show(scenario)
        seconds = time.time() - began_s
        self._traffic.start_tally()
        await tally.settled()
        return _record(scenario, service.ledger_file(name), tally, version, began_s=began_s, seconds=seconds)

    def _slowness(self, scenario: Scenario, champion: int) -> dict[str, float]:
        """The delay that multiplies the p99 that clients just saw of the champion, and is more than negligible."""
        if scenario.p99_factor == 1.0:
            return {}
        usual_ms = float(np.percentile(self._usual.versions[champion].latency_ms, 99))
        delay_ms = max((scenario.p99_factor - 1) * usual_ms, 2 * self._slo.latency_floor_ms)
        self._view.line(f"The champion's p99 is {usual_ms:.1f} ms; the canary answers {delay_ms:.1f} ms later.")
        return {"latency_ms": delay_ms}

    def _show(self, scenario: Scenario) -> None:
        status = self._platform.service.status()
        self._view.rollout(scenario.title, status.weights, status.e_value, status.sentence, status.phase)


def _record(
    scenario: Scenario, ledger: Path, tally: Tally, version: int, *, began_s: float, seconds: float
) -> RolloutRecord:
    begin, *told = entries(ledger)
    ticks = [entry for entry in told if entry["kind"] == "tick"]
    at_first = begin["attempt"]["state"]["weights"]
    timed = [(tick["observation"]["now_s"] - began_s, tick["decision"]) for tick in ticks]
    canary = tally.versions[version]
    return RolloutRecord(
        name=scenario.name,
        title=scenario.title,
        version=version,
        expected=scenario.expected,
        decision=ticks[-1]["outcome"],
        reason=ticks[-1]["decision"]["sentence"],
        seconds=seconds,
        canary_requests=canary.requests,
        bad_responses=canary.requests if scenario.misjudges else canary.failed + canary.slow,
        lost_requests=tally.lost,
        weights=(WeightPoint(0.0, **at_first), *(WeightPoint(t_s, **decision["weights"]) for t_s, decision in timed)),
        e_value=max(decision["e_value"] for _, decision in timed),
        evidence=(
            EvidencePoint(0.0, 1.0, Verdict.UNDECIDED.name.lower()),
            *(EvidencePoint(t_s, d["e_value"], Verdict(d["verdict"]).name.lower()) for t_s, d in timed),
        ),
        promoted_at_s=next((t_s for t_s, decision in timed if decision["action"] == Action.PROMOTE), None),
        events=tuple(StoryLine(t_s, d["sentence"]) for t_s, d in timed if d["action"] != Action.HOLD),
    )
