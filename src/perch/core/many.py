"""Many rollouts of one policy at once: what `decide` decides, for a thousand simulated rollouts in one step.

In nearly every tick of a rollout nothing is decided; only evidence moves. That part is the same arithmetic for all
rollouts, so here it is done on arrays. Whenever a rule might move, the rollout is handed to `decide_events` itself:
there is one engine, and a property test holds this one equal to it, tick by tick.

Two arms, no person, no labels: for benchmarks, and for estimates of what a policy costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Protocol

import numpy as np

from perch.core.arrays import ARMS, Fixed, Ints, Mask, Moving, nothing_fixed, nothing_moved
from perch.core.bounds import upper_bounds
from perch.core.engine import decide_events
from perch.core.events import Record, Tally, Tick, event_count
from perch.core.evidence import CLEARING, Comparable
from perch.core.guard import grown
from perch.core.policy import Policy
from perch.core.ramp import next_weight
from perch.core.reference import Reference
from perch.core.sample_ratio import LARGEST_INCREMENT_PER_S, LARGEST_WEALTH, MASS_PER_TICK, PRIOR, RATIOS, SampleRatio
from perch.core.sources import Source, parts
from perch.core.state import Batch, Pair, State
from perch.core.types import Arm, Decision, Phase
from perch.core.vector import Floats, Vector
from perch.core.weighing import (
    FEWEST_REQUESTS,
    LATE_INTERVAL_S,
    LIVE_MASS,
    LONGEST_WAIT_S,
    SHARPENS_S,
    family,
    late_mass,
    settled_s,
    split_share,
)
from perch.errors import RolloutError

_CANARY, _STABLE = range(2)
_FINISHED, _ANSWERED, _SCORED, _FAILED = range(4)
_EXPOSED = slice(_FINISHED, _FAILED)
_HITS = slice(_FAILED, None)
_ALMOST = 1e-9
_SPARE = 1e-7  # far more than arithmetic in another order can change


class Histograms(Protocol):
    """What one arm counted in one tick, in each of R rollouts."""

    @property
    def failed(self) -> Ints:
        """Failed requests, shape (R,)."""

    @property
    def latency(self) -> Ints:
        """Answered requests by latency bin of the grid, shape (R, bins)."""

    @property
    def scores(self) -> Ints:
        """Requests by score bin of the grid, shape (R, bins)."""


_BEFORE_PROMOTION = (Phase.SHADOW, Phase.RAMP)
_PHASES = tuple(Phase)
_SHADOW, _RAMP, _GUARD, _CONFIRM, _DONE = range(len(_PHASES))


class Many:
    """Rollouts side by side, all with the same policy and reference, and ticks at the same times."""

    def __init__(self, states: Sequence[State], policy: Policy) -> None:
        """Go on from these states. They have no baseline arm of their own.

        Raises:
            RolloutError: a policy with labels, a judge or a warm-up, which only `decide` knows.
        """
        if parts(policy)[Source.COUNTS] < 1 or policy.warm_up_requests:
            raise RolloutError("Many rollouts at once know counts only: leave labels, a judge and warm-up to `decide`.")
        self.states = list(states)
        """The rollouts as of the last tick in which a rule was asked; `state` gives the present."""
        self._policy = policy
        self._reference = states[0].reference
        self._family = family(Pair.CANARY_STABLE, Phase.RAMP, self._reference, policy)
        self._tick = max(state.tick for state in states)
        self._columns = _FAILED + event_count(self._reference)
        self._moving = nothing_moved(len(states), self._columns, len(self._family.about))
        self._fixed = nothing_fixed(len(states), self._columns)
        for i, state in enumerate(states):
            self._load(i, state)

    @property
    def running(self) -> Mask:
        """Which rollouts have not ended, shape (R,)."""
        return np.asarray(self._fixed.phase != _DONE)

    def weights(self, what: str) -> Floats:
        """Shares in force, shape (R,); `what` is a field of `perch.core.types.Weights`."""
        return np.array([getattr(state.weights, what) for state in self.states])

    def step(self, now_s: float, arms: Mapping[Arm, Histograms]) -> dict[int, Decision]:
        """Take in one tick of all rollouts; returns what was decided where a rule was asked, by rollout."""
        self._tick += 1
        rows = np.flatnonzero(self.running)
        if not rows.size:
            return {}
        fixed, old = self._fixed.take(rows), self._moving.take(rows)
        counts = {arm: _columns(histograms, self._reference)[rows] for arm, histograms in arms.items()}
        in_shadow = (fixed.phase == _SHADOW)[:, None]
        mirrored = counts.get(Arm.SHADOW, counts[Arm.CANARY])
        tick = np.stack((np.where(in_shadow, mirrored, counts[Arm.CANARY]), counts[Arm.STABLE]), axis=1)
        new, is_ready = self._advanced(old, fixed, tick, now_s)
        asked = self._may_move(new, fixed, is_ready)
        self._moving.put(rows[~asked], new.take(~asked))
        return {int(rows[k]): self._ask(int(rows[k]), tick[k], now_s) for k in np.flatnonzero(asked)}

    def state(self, i: int) -> State:
        """One rollout's state now."""
        row = self._moving.take(np.array([i]))
        one = {field.name: getattr(row, field.name)[0] for field in fields(row)}
        state = self.states[i]
        if state.phase is Phase.DONE:
            return state
        canary, stable, expected = one["split"].tolist()
        guard = replace(state.guard, detectors=tuple(one["detectors"].tolist())) if state.guard else None
        compares_by_array = state.phase in _BEFORE_PROMOTION
        return state._replace(
            tick=self._tick,
            seen_s=float(one["seen_s"]),
            now_s=float(one["now_s"]),
            data_s=float(one["data_s"]),
            watched_s=float(one["watched_s"]),
            spent=float(one["spent"]),
            spent_s=float(one["spent_s"]),
            batch=Batch(float(one["since_s"]), _tallies(one["waiting"])),
            seen=Record(_tallies(one["seen"]), tuple(one["matched"].tolist())),
            comparisons={Pair.CANARY_STABLE: Vector(one["wealth"])} if compares_by_array else state.comparisons,
            sample_ratio=SampleRatio(
                tuple(one["ratios"].tolist()), float(one["idle"]), int(canary), expected, int(stable)
            ),
            guard=guard,
        )

    def _ask(self, i: int, tick: Ints, now_s: float) -> Decision:
        """Let the engine itself decide one rollout's tick."""
        arms = {arm: _tally(tick[k]) for k, arm in enumerate(ARMS)}
        before = self.state(i)._replace(tick=self._tick - 1)
        after, decision = decide_events(before, Tick(self._tick, now_s, arms), self._policy)
        self._load(i, after)
        return decision

    def _load(self, i: int, state: State) -> None:
        """Spread a state over the arrays."""
        self.states[i] = state
        wealth = state.comparisons.get(Pair.CANARY_STABLE)
        moving, fixed, ratio = self._moving, self._fixed, state.sample_ratio
        for name in ("seen_s", "now_s", "data_s", "watched_s", "spent", "spent_s"):
            getattr(moving, name)[i] = getattr(state, name)
        moving.since_s[i] = state.batch.since_s
        for k, arm in enumerate(ARMS):
            moving.waiting[i, k] = _numbers(state.batch.arms.get(arm), self._columns)
            moving.seen[i, k] = _numbers(state.seen.arms.get(arm), self._columns)
        moving.matched[i] = state.seen.matched
        if wealth is not None and state.phase in _BEFORE_PROMOTION:
            moving.wealth[i] = wealth.array
        moving.ratios[i], moving.idle[i] = ratio.wealth, ratio.idle
        moving.split[i] = ratio.canary, ratio.stable, ratio.expected
        fixed.phase[i], fixed.share[i] = _PHASES.index(state.phase), split_share(state)
        fixed.settled_s[i], fixed.weight[i] = settled_s(state, self._policy), state.weights.canary
        fixed.weights_since_s[i], fixed.phase_since_s[i] = state.weights_since_s, state.phase_since_s
        for k, arm in enumerate(ARMS):
            fixed.before_stage[i, k] = _numbers(state.before_stage.arms.get(arm), self._columns)
        fixed.matched_before[i] = state.before_stage.matched
        fixed.before_weights[i] = sum(state.before_weights.arm(arm, self._reference).finished for arm in ARMS)
        if state.guard:
            moving.detectors[i] = state.guard.detectors
            fixed.tolerated[i] = state.guard.tolerated(state.now_s)
            fixed.incident_until_s[i] = state.guard.incident_until_s
            before = state.before_stage.arm(Arm.CANARY, self._reference).finished
            fixed.sharpens_at[i] = before + 2 * state.guard.trials

    def _advanced(self, old: Moving, fixed: Fixed, tick: Ints, now_s: float) -> tuple[Moving, Mask]:
        """What `advance` does to a state, to all at once; and whether the counts were weighed."""
        present_s = old.now_s + np.clip(now_s - old.seen_s, 0.0, LONGEST_WAIT_S)
        waiting = old.waiting + tick
        waited_s = present_s - old.since_s
        is_ready = (waiting[:, :, _FINISHED].max(axis=1) >= FEWEST_REQUESTS) | (waited_s >= LONGEST_WAIT_S)
        canary, stable = waiting[:, _CANARY], waiting[:, _STABLE]
        is_guard = fixed.phase == _GUARD
        has_data = is_ready & (canary[:, _FINISHED] > 0) & (is_guard | (stable[:, _FINISHED] > 0))
        is_late = is_ready & ~is_guard & (present_s - old.spent_s >= LATE_INTERVAL_S)
        reserved = np.where(fixed.phase == _SHADOW, LIVE_MASS, 0.0)
        late = np.where(is_late, late_mass(1 - old.spent - reserved), 0.0)
        ratios, idle, split = self._split(old, fixed, waiting, waited_s, is_ready)
        new = Moving(
            seen_s=np.full_like(old.seen_s, now_s),
            now_s=present_s,
            data_s=np.where(has_data, present_s, old.data_s),
            watched_s=old.watched_s + np.where(has_data, np.minimum(present_s - old.data_s, LONGEST_WAIT_S), 0.0),
            since_s=np.where(is_ready, present_s, old.since_s),
            spent=old.spent + late,
            spent_s=np.where(late > 0, present_s, old.spent_s),
            waiting=np.where(is_ready[:, None, None], 0, waiting),
            seen=old.seen + np.where(is_ready[:, None, None], waiting, 0),
            matched=old.matched + np.where(is_ready[:, None], self._matched(canary, stable), 0.0),
            wealth=self._bet(old, canary, stable, late, is_ready & ~is_guard),
            ratios=ratios,
            idle=idle,
            split=split,
            detectors=self._guarded(old, fixed, canary, waited_s, is_ready & is_guard),
        )
        return new, is_ready

    def _may_move(self, new: Moving, fixed: Fixed, is_ready: Mask) -> Mask:
        """Where a rule may move: everywhere else all of them pass, whatever the engine's order."""
        policy, is_guard, is_shadow = self._policy, fixed.phase == _GUARD, fixed.phase == _SHADOW
        e_value = new.wealth[:, CLEARING:].sum(axis=1) + 1 - new.spent
        convicts = ~is_guard & (e_value >= 1 / policy.alpha - _ALMOST)
        misrouted = new.ratios.sum(axis=1) + new.idle >= 1 / policy.sample_ratio_alpha - _ALMOST
        starved = new.now_s - new.data_s >= policy.no_data_timeout_s
        forward = is_ready & ~is_guard & (e_value <= policy.freeze_e_value + _ALMOST)
        at_top = fixed.weight >= policy.max_weight - _ALMOST
        rested = new.now_s - fixed.weights_since_s >= policy.ramp_interval_s
        leaves_shadow = is_shadow & (new.watched_s >= policy.shadow_s)
        raises = forward & ~is_shadow & ~at_top & rested
        raises[raises] = self._may_raise(new.take(raises), fixed.take(raises))
        promotes = ~is_shadow & at_top & (new.watched_s >= policy.bake_s)
        alarms = is_guard & (new.detectors.mean(axis=1) >= policy.guard_quiet_s * (1 - _ALMOST))
        is_young = new.now_s - fixed.phase_since_s <= SHARPENS_S + _ALMOST
        sharpens = is_guard & is_young & (new.seen[:, _CANARY, _FINISHED] >= fixed.sharpens_at)
        passes = is_guard & is_ready & (new.watched_s >= policy.guard_s)
        by_hand = (fixed.phase == _CONFIRM) | (is_guard & (new.now_s <= fixed.incident_until_s + LONGEST_WAIT_S))
        go_on = raises | (forward & (leaves_shadow | promotes))
        lowers = ~is_guard & ~is_shadow & rested & (e_value > policy.freeze_e_value - _ALMOST)
        return np.asarray(convicts | misrouted | starved | go_on | lowers | alarms | sharpens | passes | by_hand)

    def _may_raise(self, new: Moving, fixed: Fixed) -> Mask:
        """Where the harm bound might allow a larger weight: `rules.raise_weight`, with a little to spare."""
        policy, stage = self._policy, new.seen - fixed.before_stage
        canary, stable = stage[:, _CANARY], stage[:, _STABLE]
        trials, others = (arm[:, _FINISHED].astype(np.float64) for arm in (canary, stable))
        bad = canary[:, [_FAILED, _FAILED + self._reference.slo_event]].sum(axis=1).astype(np.float64)
        matched = (new.matched - fixed.matched_before).sum(axis=1)
        lower = 1.0 - upper_bounds(others - matched, others, policy.beta / 2)
        harm = upper_bounds(bad, trials, policy.beta / 2) - lower * others / np.maximum(trials, 1.0)
        held_s = new.now_s - fixed.weights_since_s
        rates = (new.seen[:, :, _FINISHED].sum(axis=1) - fixed.before_weights) / held_s
        return np.array(
            [
                next_weight(weight, bound - _SPARE, rate, policy) > weight
                for weight, bound, rate in zip(*map(np.ndarray.tolist, (fixed.weight, harm, rates)), strict=True)
            ],
            dtype=bool,
        )

    def _matched(self, canary: Ints, stable: Ints) -> Floats:
        bad = stable[:, [_FAILED, _FAILED + self._reference.slo_event]]
        scale = np.minimum(canary[:, _FINISHED] / np.maximum(stable[:, _FINISHED], 1), 1.0)
        return np.asarray(bad * scale[:, None], dtype=np.float64)

    def _bet(self, old: Moving, canary: Ints, stable: Ints, late: Floats, where: Mask) -> Floats:
        both = canary + stable
        share = canary[:, _EXPOSED] / np.maximum(both[:, _EXPOSED], 1)
        counted = Comparable(canary[:, _HITS].astype(np.float64), both[:, _HITS].astype(np.float64), share)
        wealth = self._family.bet(self._family.more(old.wealth, late[:, None]), counted)
        return np.where(where[:, None], wealth, old.wealth)

    def _split(
        self, old: Moving, fixed: Fixed, waiting: Ints, waited_s: Floats, is_ready: Mask
    ) -> tuple[Floats, Floats, Floats]:
        """What `SampleRatio.after` does."""
        applies = is_ready & (fixed.share > 0) & (old.since_s >= fixed.settled_s)
        share = np.where(applies, fixed.share, 0.5)[:, None]
        canary, stable = waiting[:, _CANARY, _FINISHED], waiting[:, _STABLE, _FINISHED]
        ends_in_canary = share * _RATIO_ROW / (share * _RATIO_ROW + 1 - share)
        log_l = canary[:, None] * np.log(ends_in_canary / share) + (
            stable[:, None] * np.log((1 - ends_in_canary) / (1 - share))
        )
        mass = MASS_PER_TICK * old.idle
        most = LARGEST_INCREMENT_PER_S * waited_s[:, None]
        wealth = (old.ratios + mass[:, None] * _PRIOR_ROW) * np.exp(np.minimum(log_l, most))
        wealth = np.minimum(wealth, LARGEST_WEALTH)
        told = old.ratios.sum(axis=1) + old.idle > 1
        turned = (old.ratios.argmax(axis=1) < _TOO_FEW) != (wealth.argmax(axis=1) < _TOO_FEW)
        counted = np.stack((canary, stable, share[:, 0] * (canary + stable)), axis=1)
        split = np.where((told & ~turned)[:, None], old.split, 0.0) + counted
        return (
            np.where(applies[:, None], wealth, old.ratios),
            np.where(applies, old.idle - mass, old.idle),
            np.where(applies[:, None], split, old.split),
        )

    def _guarded(self, old: Moving, fixed: Fixed, canary: Ints, waited_s: Floats, where: Mask) -> Floats:
        """What `Guard.watched` does."""
        if not where.any():
            return old.detectors
        hits = canary[:, [_FAILED, _FAILED + self._reference.slo_event]].astype(np.float64)
        trials = canary[:, [_FINISHED, _ANSWERED]].astype(np.float64)
        after = grown(old.detectors, hits, trials, fixed.tolerated, waited_s[:, None])
        return np.where(where[:, None], after, old.detectors)


_RATIO_ROW, _PRIOR_ROW = np.array(RATIOS), np.array(PRIOR)
_TOO_FEW = sum(ratio < 1 for ratio in RATIOS)


def _columns(counted: Histograms, reference: Reference) -> Ints:
    """Tallies as rows: finished, answered, scored, and the hits of each event; shape (R, columns)."""
    latency, scores = counted.latency.cumsum(axis=1), counted.scores.cumsum(axis=1)
    answered, below = latency[:, -1:], np.pad(scores, ((0, 0), (1, 0)))
    failed = np.asarray(counted.failed)[:, None]
    slow = answered - latency[:, list(reference.latency_edges)]
    bins = np.diff(below[:, list(reference.score_bounds)], axis=1)
    return np.concatenate((failed + answered, answered, scores[:, -1:], failed, slow, bins), axis=1)


def _tally(row: Ints) -> Tally:
    finished, answered, scored, *hits = row.tolist()
    return Tally(finished, answered, scored, tuple(hits))


def _tallies(rows: Ints) -> dict[Arm, Tally]:
    return {arm: _tally(rows[k]) for k, arm in enumerate(ARMS)}


def _numbers(tally: Tally | None, columns: int) -> list[int]:
    return [tally.finished, tally.answered, tally.scored, *tally.hits] if tally else [0] * columns
