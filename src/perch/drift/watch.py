"""Looks at a service's inputs once a minute, and judges a window of them every five.

It tells of drift, and may ask for a training; it never touches traffic. What fails is told and tried again by the next
look. Nothing of it keeps a tick waiting: limits are drawn in a thread of their own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from perch.adapters.metrics.port import InputSource
from perch.adapters.store.port import Store
from perch.core.diagnosis import diagnose
from perch.core.freshness_types import Alert
from perch.core.inputs import Finding, State, Window, findings, judged, score_drift, suspected
from perch.core.movement import Kind
from perch.core.recalibration import Change
from perch.drift.counting import Counting
from perch.drift.remembered import Remembered
from perch.errors import PerchError, RolloutError

LOOK_S: Final = 60.0

_TRAINS: Final = {Kind.MOVED, Kind.UNSEEN}
"""What a model may learn. A column that is broken is to be mended: trained on, it would be learnt."""

_WHAT: Final = {False: "An input", True: "What an input adds to the scores"}

_log = logging.getLogger(__name__)


class Served(Protocol):
    """What a watch asks of the service's rollout loop."""

    @property
    def champion(self) -> int:
        """The version that serves."""
        ...


class DriftWatch:
    """Watches over the inputs of one service. All methods are called from one event loop."""

    def __init__(
        self,
        service: Served,
        inputs: InputSource,
        store: Store[Remembered],
        *,
        clock: Callable[[], float],
        notify: Callable[[str], None],
        hear: Callable[[Sequence[Alert]], Awaitable[None]] | None = None,
        outcomes: Callable[[], Change | None] = lambda: None,
        tell: Callable[[State], None] = lambda _: None,
    ) -> None:
        """Make one; `open` lets it go on where it was.

        Args:
            service: Whose inputs.
            inputs: Where they are counted.
            store: Keeps what is remembered.
            clock: Seconds since the epoch.
            notify: Told what happens, a sentence at a time.
            hear: Told, after each window, which inputs ask for a training, and which no longer do.
            outcomes: Says whether what follows from the scores has changed.
            tell: Told how inputs stand, for gauges.
        """
        self._service, self._inputs, self._store = service, inputs, store
        self._clock, self._notify, self._hear = clock, notify, hear
        self._outcomes, self._tell = outcomes, tell
        self._counting = Counting()
        self._remembered = Remembered()

    @property
    def remembered(self) -> Remembered:
        """Where it stands."""
        return self._remembered

    async def open(self) -> None:
        """Go on where it was. What cannot be read keeps nobody from serving: it is told, and looked at anew."""
        try:
            self._remembered = await self._store.load() or Remembered()
        except RolloutError as error:
            self._notify(str(error))
        self._tell(self._remembered.state)

    async def keep(self, after_s: float = 0.0) -> None:
        """Look once a minute, for ever; for the first time after so many seconds."""
        await asyncio.sleep(after_s)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once; what goes wrong is told."""
        try:
            self._counting.add(await self._inputs.inputs())
            window = self._counting.window(self._service.champion, self._clock())
            if window is not None:
                await self._judge(window)
        except (PerchError, OSError) as error:
            self._notify(f"Whether inputs drift could not be judged; the next look tries again. {error}")
        except Exception as error:  # noqa: BLE001  the next look must come whatever happens in this one
            self._notify(f"Whether inputs drift could not be judged, which is a fault of Perch's: {error!r}.")
            _log.exception("A look failed.")

    async def _judge(self, window: Window) -> None:
        before = findings(self._remembered.state)
        state = await asyncio.to_thread(judged, self._remembered.state, window)
        now = findings(state)
        trained = [finding for finding in now if finding.against == "training"]
        told = diagnose(trained, score_drift(state), self._outcomes(), suspected(state))
        self._remembered = Remembered(state, told.sentence)
        self._tell(state)
        await self._store.save(self._remembered)
        self._tell_changes(before, now)
        if self._hear is not None:
            ended = [one for one in before if _number(one) not in {_number(other) for other in now}]
            alerts = [_alert(one, firing=True) for one in now] + [_alert(one, firing=False) for one in ended]
            await self._hear([alert for alert in alerts if alert is not None])

    def _tell_changes(self, before: Sequence[Finding], now: Sequence[Finding]) -> None:
        known = {_number(finding) for finding in before}
        for finding in now:
            if _number(finding) not in known:
                self._notify(f"{_WHAT[finding.kind is Kind.ATTRIBUTION]} drifts. {finding.sentence}")
        lasting = {_number(finding) for finding in now}
        for finding in before:
            if _number(finding) not in lasting:
                subject = " or ".join(finding.features)
                whose = f"What {subject} adds" if finding.kind is Kind.ATTRIBUTION else subject
                self._notify(f"{whose} no longer drifts.")


def _number(finding: Finding) -> str:
    what = "attribution" if finding.kind is Kind.ATTRIBUTION else "drift"
    return f"{what} {finding.against} {' '.join(finding.features)}@{finding.since_s:.0f}"


def _alert(finding: Finding, *, firing: bool) -> Alert | None:
    """What asks for a training: an input that moved away from that of the last one."""
    if finding.against != "training" or finding.kind not in _TRAINS:
        return None
    return Alert(_number(finding), finding.sentence.rstrip("."), firing)
