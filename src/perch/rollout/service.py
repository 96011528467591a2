"""One served model over time: which version each arm runs, and the rollout in progress.

ORDER OF WRITES

A crash may come between any two steps, and the end must be the same. A weight that goes down is routed before it is
recorded, so that a harm once seen is not served again; a weight that goes up is recorded before it is routed, so that
no traffic goes where no record says why. The counters of the last tick are part of the record: what a crash hid is
seen by the next tick.

A fall may therefore be in force and not be recorded. So what is opened again raises no weight above what it finds in
force before a tick has seen what the canary counted.

WHAT IS DERIVED

Roles, quarantine and running processes follow from the record and are brought about beside the ticks until they agree.
A registry that is away, or hangs, therefore delays them and stops nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from perch.adapters.fleet.port import Fleet
from perch.adapters.labels.port import LabelSource
from perch.adapters.metrics.port import MetricsSource
from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.adapters.registry.threads import in_registry_thread
from perch.adapters.store.port import Store
from perch.adapters.traffic.port import TrafficRouter
from perch.core import Policy, begin, decide, reference
from perch.core.types import Arm, Command, Counts, Decision, Weights
from perch.errors import RegistryError, RolloutError
from perch.rollout import labels
from perch.rollout.admission import objections
from perch.rollout.attempt import Attempt, Totals
from perch.rollout.counters import Counters
from perch.rollout.history import history, last_without_promotion, ledger_file, next_name
from perch.rollout.ledger import Ledger, Tick
from perch.rollout.pods import take_out
from perch.rollout.roles import first_standing
from perch.rollout.running import Running
from perch.rollout.settling import Settling
from perch.rollout.standing import Standing
from perch.rollout.status import Status
from perch.settings import ModelService
from perch.signals.names import grid
from perch.signals.observe import observe, version_of


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that a service acts on."""

    registry: ModelRegistry
    fleet: Fleet
    router: TrafficRouter
    metrics: MetricsSource
    store: Store[Standing]
    labels: LabelSource | None = None
    """`None`: nobody collects outcomes."""

    has_judge: bool = False
    """Whether an external judge compares what the arms are asked, where a policy wants it."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A release that may begin."""

    wanted: ModelVersion
    champion: ModelVersion
    overridden: tuple[str, ...]
    """What spoke against it, before a person insisted."""


class Service:
    """Runs one ModelService through the ports.

    All methods are called from one event loop. Only `release` and `tick` move a weight, and never at the same time.
    """

    def __init__(self, declaration: ModelService, ports: Ports, folder: Path, *, notify: Callable[[str], None]) -> None:
        """Make a service; `open` brings it up.

        Args:
            declaration: What is wished for.
            ports: What it acts on.
            folder: Where its ledgers go; made when it is missing.
            notify: Told what happens, a sentence at a time.
        """
        spec = declaration.spec
        self._name = declaration.name
        self._model = spec.model
        self._declared_baseline = spec.baseline
        self._baseline_share = spec.policy.baseline_share
        self._inputs_share = spec.events.features_share
        self._slo = spec.slo
        self._grid = grid(spec.slo.latency_p99_ms)
        self._ports = ports
        self._folder = folder
        self._notify = notify
        self._standing = Standing(self._model, champion=0, baseline=0)
        self._routed: tuple[Mapping[Arm, str], Weights] | None = None
        self._kept: tuple[Weights, Weights] | None = None
        """What the record wanted when the service was opened, and what it gets until a tick has seen the canary."""
        self._command: Command | None = None
        self._prepared: set[int] = set()
        self._releasing = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._running = Running(ports.fleet, notify)
        self._settling = Settling(ports.registry, spec.model, notify)
        self._counters = Counters(ports.metrics, self._running)
        folder.mkdir(parents=True, exist_ok=True)

    async def open(self) -> None:
        """Bring up what ran when the service was last closed, or else the champion and the baseline.

        A canary in mid-rollout comes up beside the ticks, which judge it.

        Raises:
            RolloutError: no version holds the role of the baseline, so there is nothing safe to serve; or the folder
                remembers another model.
        """
        declared, remembered = self._declared_baseline, await self._ports.store.load()
        if remembered is None:
            remembered = await in_registry_thread(first_standing, self._ports.registry, self._model, declared)
        elif remembered.model != self._model:
            raise RolloutError(
                f"What is remembered of {self._name} is about {remembered.model}, and {self._model} is declared. "
                "Declare the former model again, or give the service of this one another name and state of its own."
            )
        elif declared is not None and declared != remembered.baseline:
            remembered = await in_registry_thread(self._with_baseline, remembered, declared)
        await self._remember(remembered)
        arms = remembered.arms
        await self._running.open({arms[arm] for arm in arms if arm is not Arm.CANARY}, arms.get(Arm.CANARY))
        if remembered.rolling:
            in_force = await asyncio.to_thread(self._ports.router.weights)
            self._kept = self.weights, remembered.cautious_weights(self._baseline_share, in_force)
        await self._route(arms, self.weights)

    async def close(self) -> None:
        """Wait for the versions that are being stopped, and a little for the registry."""
        await self._running.close()
        await self._settling.close()

    async def prepare(self, version: int) -> None:
        """Warm a version ahead of its release."""
        self._prepared.add(version)
        await self._ports.fleet.start(version)

    async def release(
        self, version: int, policy: Policy, now_s: float, *, override: bool = False, retry_of: str | None = None
    ) -> str:
        """Begin a rollout of `version` and return its name.

        Args:
            version: What is to become the champion.
            policy: What the rollout may risk.
            now_s: Seconds since the epoch.
            override: Release it even from quarantine, and after too many rollbacks.
            retry_of: The attempt that this one repeats, by its name.

        Raises:
            RolloutError: another rollout is in progress, the version is the champion already or quarantined, or
                too many rollouts came home of late; or the policy asks for labels or a judge that nobody has.
            RegistryError: the version is unknown, or the registry has not taken the end of the last rollout yet.
        """
        async with self._releasing:
            self._prepared.add(version)
            try:
                async with self._moving:
                    pass  # a tick that ends a rollout is let to finish; none waits for the registry
                admitted = await self._admit(version, policy, now_s, override=override)
                await self._ports.fleet.start(version)
                async with self._moving:
                    return await self._release(admitted, policy, now_s, retry_of)
            finally:
                self._prepared.discard(version)

    async def retry(self, policy: Policy, now_s: float, *, override: bool = False) -> str:
        """Release the version of the last rollout that did not end in promotion once more; returns the new name.

        Raises:
            RolloutError: there is no such rollout, or as `release` does.
        """
        past = await asyncio.to_thread(history, self._folder)
        failed = last_without_promotion(past.rollouts)
        return await self.release(failed.version, policy, now_s, override=override, retry_of=failed.name)

    async def _admit(self, version: int, policy: Policy, now_s: float, *, override: bool) -> "_Admitted":
        """What a release needs to know, if it may begin."""
        last = self._standing.attempt
        if last is not None and not last.done:
            raise RolloutError(f"Rollout {last.name} is still in progress. Wait for its end, or roll it back first.")
        await self._settling.settle(last)
        if last is not None and not self._settling.has_taken(last):
            raise RegistryError(
                "The registry has not taken the end of the last rollout yet. Try again when it answers."
            )
        if version == self._standing.champion:
            raise RolloutError(f"Version {version} is the champion already. There is nothing to roll out.")
        wanted = await in_registry_thread(self._ports.registry.get, self._model, version)
        labels.check(policy, self._ports.labels, has_judge=self._ports.has_judge, inputs_share=self._inputs_share)
        past = await asyncio.to_thread(history, self._folder)
        against = objections(wanted, past.rollouts, policy, now_s)
        if against and not override:
            raise RolloutError(f"{' '.join(against)} Release a mended version, or insist with --override.")
        champion = await in_registry_thread(self._ports.registry.get, self._model, self._standing.champion)
        return _Admitted(wanted, champion, tuple(against))

    async def _release(self, admitted: "_Admitted", policy: Policy, now_s: float, retry_of: str | None) -> str:
        attempt = replace(self._begin(admitted, policy, await self._counters.at_first(), now_s), retry_of=retry_of)
        self._command = None
        ledger = self._ledger(attempt)
        ledger.begin(attempt)
        for objection in admitted.overridden:
            ledger.note(now_s, f"A person insisted on this release. {objection}")
        fixed = attempt.state.reference
        for what in (*fixed.untested, *labels.untested(policy, fixed, self._ports.labels)):
            ledger.note(now_s, f"Not tested in this rollout: {what}.")
        await self._remember(self._standing.after(attempt))
        await self._route(self._standing.arms, self.weights)
        return attempt.name

    def command(self, command: Command) -> None:
        """Hand a person's wish to the next tick; raises `RolloutError` when no rollout is in progress."""
        if not self.rolling:
            raise RolloutError(f"No rollout is in progress, so there is nothing to {command.replace('_', ' ')}.")
        if self._command is not Command.ROLL_BACK:  # which nothing overrules
            self._command = command

    @property
    def rolling(self) -> bool:
        """A rollout is in progress."""
        return self._standing.rolling

    @property
    def is_judged(self) -> bool:
        """Whether a rollout is in progress whose policy counts on the external judge."""
        attempt = self._standing.attempt
        return attempt is not None and self.rolling and attempt.policy.external_judge

    @property
    def champion(self) -> int:
        """The version that serves."""
        return self._standing.champion

    @property
    def serves(self) -> bool:
        """Whether the champion runs, as far as is known."""
        return self._standing.champion not in self._ports.fleet.down()

    @property
    def weights(self) -> Weights:
        """Where the traffic belongs."""
        return self._standing.weights(self._baseline_share)

    @property
    def e_value(self) -> float:
        """Evidence that the canary harms; 1 while no rollout is in progress."""
        attempt = self._standing.attempt
        return attempt.e_value if attempt and self._standing.rolling else 1.0

    @property
    def last_tried(self) -> int | None:
        """The version of the rollout in progress, or of the last one."""
        return self._standing.attempt.version if self._standing.attempt else None

    async def tick(self, now_s: float) -> Decision | None:
        """See what was counted, decide, act and record; `None` when no rollout is in progress.

        What fails on the way is taken again by the next tick, under the same number unless its state was saved.
        """
        async with self._moving:
            before = self._standing.attempt
            decision = None if before is None or before.done else await self._move(before, now_s)
            await self._route(self._standing.arms, self.weights)  # a weight that goes up, and what failed before
            self._running.stop_others(self._needed)
            self._settling.follow(self._standing.attempt)
            return decision

    async def _move(self, before: Attempt, now_s: float) -> Decision:
        command = self._command
        read, arrived = await asyncio.gather(self._counters.during(before), labels.arrived(self._ports.labels, before))
        counted, totals = observe(
            before.tick + 1,
            now_s,
            previous=before.totals,
            current=read,
            deployed=before.deployed,
            command=command,
        )
        is_down = self._running.is_down(before.version) and not self._running.is_returning(before.version)
        observation = replace(
            counted,
            outcomes=arrived.outcomes if arrived else None,
            judgements=arrived.judgements if arrived else (),
            canary_is_down=is_down,
        )
        state, decision = decide(before.state, observation, before.policy)
        after = replace(
            before,
            state=state,
            totals=totals,
            label_cursor=arrived.cursor if arrived else before.label_cursor,
            tick=observation.tick,
            served=before.served.after(observation, before.state.reference),
            sentence=decision.sentence,
            e_value=decision.e_value,
        )
        if counted.arms.get(Arm.CANARY) is not None and not is_down:
            self._kept = None
        ledger = self._ledger(after)
        if after.state.weights != before.state.weights and not _rises(before, after):
            # Before anything is written: a full disk must not keep a harm in traffic. To the arms as they are recorded,
            # for what is in force to be understood when the service is opened again before this is.
            await self._route(self._standing.arms, after.state.weights)
        ledger.tick(Tick.of(observation, decision, after))
        for pod in decision.eject:
            told = await take_out(pod, self._ports.fleet, before, observation)
            ledger.note(now_s, told)
            self._notify(told)
        await self._remember(self._standing.after(after))
        if self._command is command:  # kept until it is recorded: an error on the way must not lose it
            self._command = None
        if after.done:
            self._notify(f"Rollout {after.name} has ended. {after.sentence}")
        return decision

    def route_anew(self) -> None:
        """Have the next tick write the route, for somebody else changed it."""
        self._routed = None

    def status(self) -> Status:
        """Where the service stands."""
        return Status.of(self._name, self._standing, self._ports.router.weights())

    def ledger_file(self, name: str) -> Path:
        """Where the ledger of a rollout stands."""
        return ledger_file(self._folder, name)

    # --- what follows from the record -------------------------------------------------------------------------------

    def _with_baseline(self, standing: Standing, declared: int) -> Standing:
        if standing.rolling:
            self._notify("A rollout is in progress: the baseline that is declared now takes effect at the next start.")
            return standing
        self._ports.registry.assign(self._model, Role.BASELINE, declared)
        return replace(standing, baseline=declared)

    def _begin(self, admitted: "_Admitted", policy: Policy, totals: Totals, now_s: float) -> Attempt:
        standing, version = self._standing, admitted.wanted.version
        evaluated = (admitted.champion.score_histogram, admitted.wanted.score_histogram)
        usual_loss = admitted.champion.metrics.get("log_loss")
        fixed = reference(self._live_counts(totals, standing.champion), self._grid, self._slo, evaluated, usual_loss)
        arms = [Arm.STABLE, Arm.CANARY] + ([Arm.BASELINE] if standing.baseline != standing.champion else [])
        return Attempt(
            name=next_name(self._folder, version),
            version=version,
            champion=standing.champion,
            baseline=standing.baseline,
            policy=policy,
            state=begin(policy, self._slo, fixed, arms, now_s),
            totals=totals,
        )

    def _live_counts(self, totals: Totals, version: int) -> Counts:
        """What a version has counted under live traffic, whatever arm it was then."""
        sources = [by_arm for source, by_arm in totals.items() if version_of(source) == version]
        live = (Arm.BASELINE, Arm.STABLE, Arm.CANARY)
        counts = [by_arm[arm] for by_arm in sources for arm in live if arm in by_arm]
        return sum(counts, start=Counts.none(self._grid))

    def _needed(self) -> set[int]:
        return set(self._standing.arms.values()) | self._prepared

    async def _route(self, arms: Mapping[Arm, int], weights: Weights) -> None:
        """Bring the route in line with these; does nothing when it is. A canary that does not run gets no request."""
        if self._kept is not None and weights == self._kept[0]:
            weights = self._kept[1]
        running = self._ports.fleet.endpoints()
        endpoints = {arm: running[version] for arm, version in arms.items() if version in running}
        if Arm.CANARY not in endpoints:
            weights = replace(weights, stable=weights.stable + weights.canary, canary=0.0, mirror=0.0)
        wanted = endpoints, weights
        if wanted != self._routed:
            self._routed = None  # what fails may have been written all the same
            await asyncio.to_thread(self._ports.router.route, *wanted)
            self._routed = wanted

    async def _remember(self, standing: Standing) -> None:
        await self._ports.store.save(standing)
        self._standing = standing  # only what is saved: else a restart would go back by more than one tick

    def _ledger(self, attempt: Attempt) -> Ledger:
        return Ledger(self.ledger_file(attempt.name))


def _rises(before: Attempt, after: Attempt) -> bool:
    """Whether the canary gets more traffic."""
    return after.state.weights.canary > before.state.weights.canary
