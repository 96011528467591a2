"""Looks at a service once a minute: gathers the signals, decides, remembers, starts.

ORDER OF WRITES. A run is decided, then remembered with its number, then started, then confirmed. So a crash in between
starts the same run again, and never a second one.

What fails is told and tried again by the next look. Nothing of it keeps a tick waiting.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from perch.adapters.labels.port import LabelSource
from perch.adapters.metrics.port import MetricsSource
from perch.adapters.registry.port import ModelRegistry, ModelVersion
from perch.adapters.registry.threads import in_registry_thread
from perch.adapters.store.port import Store
from perch.adapters.training.port import Trainings, run_name
from perch.core.decay import Matured, change_of
from perch.core.freshness import confirmed, decide
from perch.core.freshness_types import Alert, Decision, Signals
from perch.core.policy import FreshnessPolicy
from perch.core.recalibration import Change
from perch.core.staleness import objection
from perch.errors import PerchError, RegistryError, RolloutError
from perch.freshness.counting import Counting
from perch.freshness.remembered import Remembered
from perch.settings import ModelService

LOOK_S: Final = 60.0

TRAINED_TAG: Final = "trained_s"
"""Tag of a version: when its data was read, in seconds since the epoch."""

LOSS_TAG: Final = "staleness_loss_per_hour"
"""Tag of a version: what the last backtest measured, in clicks in a thousand impressions for each hour of age."""

_KEPT_S: Final = 600.0
_REGISTRY_S: Final = 600.0
_log = logging.getLogger(__name__)

_STEPS: Final = 20
"""Of labels, in one look: enough to catch up with a service that was away for hours in a few minutes."""


class Served(Protocol):
    """What a watch asks of the service's rollout loop."""

    @property
    def champion(self) -> int:
        """The version that serves."""
        ...

    @property
    def rolling(self) -> bool:
        """A rollout is in progress."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything outside that a watch asks or acts on."""

    service: Served
    trainings: Trainings
    registry: ModelRegistry
    metrics: MetricsSource
    store: Store[Remembered]
    labels: LabelSource | None
    """`None`: nobody collects outcomes."""


class Watch:
    """Watches over one service. All methods are called from one event loop."""

    def __init__(
        self, declaration: ModelService, sources: Sources, clock: Callable[[], float], notify: Callable[[str], None]
    ) -> None:
        """Make one; `open` lets it go on where it was.

        Args:
            declaration: Of the service.
            sources: What it asks and acts on.
            clock: Seconds since the epoch.
            notify: Told what happens, a sentence at a time.
        """
        self._name, self._spec = declaration.name, declaration.spec
        self._policy = declaration.spec.training.freshness
        self._sources = sources
        self._clock = clock
        self._notify = notify
        self._counting = Counting(sources.metrics)
        self._remembered = Remembered()
        self._heard: list[Alert] = []
        self._wish: bool | None = None
        self._known: tuple[float, ModelVersion] | None = None
        self._kept_s = float("-inf")
        self._looking = asyncio.Lock()
        self._asked = asyncio.Event()

    @property
    def model(self) -> str:
        """The registered model that the service runs."""
        return self._spec.model

    @property
    def remembered(self) -> Remembered:
        """Where it stands."""
        return self._remembered

    @property
    def change(self) -> Change | None:
        """What has changed in what follows from the champion's scores."""
        return change_of(self._remembered.state.decay, self._policy.decay_quiet_s)

    def follow(self, policy: FreshnessPolicy) -> None:
        """Decide by another policy from now on."""
        self._policy = policy

    async def open(self) -> None:
        """Go on where it was. What cannot be read keeps nobody from serving: it is told, and age counted anew."""
        try:
            self._remembered = await self._sources.store.load() or Remembered()
        except RolloutError as error:
            self._notify(str(error))

    async def keep(self, after_s: float = 0.0) -> None:
        """Look once a minute, and when a person asks, for ever; for the first time after so many seconds."""
        await asyncio.sleep(after_s)
        while True:
            await self.look()
            self._asked.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_S)

    async def look(self) -> None:
        """Look once; what goes wrong is told."""
        async with self._looking:
            try:
                await self._look(self._clock())
            except (PerchError, OSError) as error:
                self._notify(f"Whether to train anew could not be decided; the next look tries again. {error}")
            except Exception as error:  # noqa: BLE001  the next look must come whatever happens in this one
                self._notify(f"Whether to train anew could not be decided, which is a fault of Perch's: {error!r}.")
                _log.exception("A look failed.")

    async def hear(self, alerts: Iterable[Alert]) -> None:
        """Take alerts in; returns when they are remembered, or acted on. Raises `PlatformError` when they are not."""
        self._heard += alerts
        async with self._looking:
            if self._heard:  # or the look that was waited for has taken them
                await self._look(self._clock())

    def wish(self, *, override: bool) -> None:
        """Ask for a run, as a person does; the next look comes at once, and starts it.

        Raises:
            RolloutError: a run or a rollout is in progress; or there was one lately, and nobody insists; or the budget
                is used up.
        """
        now = self._remembered
        if self._sources.service.rolling:
            raise RolloutError("A rollout is in progress. Wait for its end, or roll it back first.")
        if now.in_progress is not None:
            raise RolloutError(f"{now.in_progress} is in progress already.")
        against = objection(now.state, self._policy, self._clock(), override=override)
        if against is not None:
            raise RolloutError(f"{against} {_INSIST if 'cool-down' in against else _PAY}")
        self._wish = override
        self._asked.set()

    # --- one look ---------------------------------------------------------------------------------------------------

    async def _look(self, now_s: float) -> None:
        heard, self._heard = self._heard, []
        wish, self._wish = self._wish, None
        try:
            signals, matured_s = await self._signals(now_s)
            signals = replace(signals, alerts=tuple(heard), wish=wish is not None, override=bool(wish))
            state, decision = decide(self._remembered.state, signals, self._policy, now_s)
            remembered = Remembered(state, matured_s, decision.due_s, signals.in_progress)
            await self._keep(remembered, now_s, at_once=decision.start or bool(heard) or wish is not None)
        except BaseException:
            self._heard, self._wish = heard + self._heard, wish if self._wish is None else self._wish
            raise
        if decision.start:
            await self._start(decision)

    async def _keep(self, remembered: Remembered, now_s: float, *, at_once: bool) -> None:
        """Remember; not on disk each minute, for what is counted in a few minutes may be lost."""
        before = self._remembered
        told_anew = remembered.in_progress != before.in_progress or remembered.state.version != before.state.version
        if at_once or told_anew or now_s - self._kept_s >= _KEPT_S:
            await self._sources.store.save(remembered)
            self._kept_s = now_s
        self._remembered = remembered

    async def _start(self, decision: Decision) -> None:
        decided_s = self._remembered.state.run_s
        assert decided_s is not None, "there is a decision"
        name = run_name(self._name, decided_s)
        await self._sources.trainings.start(name, decision.sentence)
        begun = replace(self._remembered, state=confirmed(self._remembered.state), in_progress=name)
        await self._sources.store.save(begun)
        self._remembered = begun
        self._notify(f"Run {name} has been started. {decision.sentence}")

    async def _signals(self, now_s: float) -> tuple[Signals, float]:
        """What was seen since the last look, and up to which time labels were taken in."""
        sources = self._sources
        champion = sources.service.champion
        in_progress = "A rollout" if sources.service.rolling else await sources.trainings.in_progress()
        ended = await sources.trainings.last()
        version = await self._version(champion, now_s)
        impressions, scores = await self._counting.since_last(champion)
        matured, matured_s = await self._matured(champion, now_s)
        signals = Signals(
            version=champion,
            trained_s=_number(version, TRAINED_TAG),
            impressions=impressions,
            matured=matured,
            scores=scores,
            loss_per_hour=_number(version, LOSS_TAG),
            in_progress=in_progress,
            ended=ended,
        )
        return signals, matured_s

    async def _version(self, champion: int, now_s: float) -> ModelVersion | None:
        """What the registry says of the champion, at most ten minutes ago; `None` while it does not answer."""
        known = self._known
        if known is not None and known[1].version == champion and now_s - known[0] < _REGISTRY_S:
            return known[1]
        try:
            found = await in_registry_thread(self._sources.registry.get, self._spec.model, champion)
        except RegistryError as error:
            self._notify(f"When version {champion} was trained is not known. {error}")
            return known[1] if known is not None and known[1].version == champion else None
        self._known = now_s, found
        return found

    async def _matured(self, champion: int, now_s: float) -> tuple[Matured, float]:
        oldest_s = now_s - 2 * self._spec.attribution_window_s
        since_s = max(self._remembered.matured_s, oldest_s)
        matured, labels = Matured(), self._sources.labels
        if labels is None:
            return matured, since_s
        for _ in range(_STEPS):
            found = await labels.matured(champion, since_s)
            if found is None or found.until_s <= since_s:
                break
            matured, since_s = matured + found.matured, found.until_s
        return matured, since_s


_INSIST: Final = "Insist with --override."
_PAY: Final = "Wait, or raise spec.training.freshness.runsPerDay."


def _number(version: ModelVersion | None, tag: str) -> float | None:
    """A number that somebody wrote down; `None` when nobody did, or it is none."""
    try:
        return None if version is None else float(version.tags[tag])
    except (KeyError, ValueError):
        return None
