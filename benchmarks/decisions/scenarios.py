"""What may happen to a rollout: the scenarios that all engines are put through.

A canary harms, or it does not; where it does not, a rollback is false. Promotion is off where the error bound over a
long time is asked for: our engine then goes on looking for the whole hour. The peers' rules know no such switch. They
promote as documented, and a rule that has ended looks no more, which flatters them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import pi, sin

from perch.rehearsal.market import GOOD, Behaviour, Timeline, Traffic, always

_RATES = (1.0, 10.0, 100.0, 1000.0)
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way a rollout may go."""

    name: str
    """Begins with S0 to S10. With the rate it is unique."""

    traffic: Traffic

    harmful: bool
    """Whether the canary harms: whether a rollback is right."""

    promotion: bool = True
    """Whether a good canary may be promoted, or is only watched."""

    duration_s: int = _HOUR_S
    """Time after which what has not ended is held."""

    @property
    def key(self) -> str:
        """Name and rate."""
        return key(self.name, self.traffic.rps)


def key(name: str, rps: float) -> str:
    """Name a scenario by its name and rate."""
    return f"{name}, {rps:g} rps"


def scenarios() -> list[Scenario]:
    """All of them, in the order of their numbers."""
    return [*_no_fault(), *_errors(), *_latency(), *_scores(), *_late_faults(), *_silence(), *_common_causes()]


def _no_fault() -> Iterator[Scenario]:
    for rps in _RATES:
        yield Scenario("S0 no fault", Traffic(rps), harmful=False, promotion=False)
        yield Scenario("S0 no fault, promoted when proven", Traffic(rps), harmful=False)
    yield Scenario("S0 no fault, bursts", Traffic(100.0, bursts=True), harmful=False, promotion=False)
    for label, rate in (("0.01 %", 1e-4), ("2 %", 0.02)):
        both = always(Behaviour(error_rate=rate))
        traffic = Traffic(100.0, stable=both, canary=both)
        yield Scenario(f"S0 no fault, base error {label}", traffic, harmful=False, promotion=False)


def _errors() -> Iterator[Scenario]:
    for label, rate in (("1 %", 0.01), ("5 %", 0.05), ("50 %", 0.5)):
        faulty = always(Behaviour(error_rate=rate))
        for rps in _RATES:
            yield Scenario(f"S1 errors 0.1 % to {label}", Traffic(rps, canary=faulty), harmful=True)
    rare = Traffic(100.0, stable=always(Behaviour(error_rate=1e-4)))
    yield Scenario("S1 errors 0.01 % to 0.1 %", rare, harmful=True)


def _latency() -> Iterator[Scenario]:
    for factor in (1.2, 1.5, 3.0):
        slow = always(Behaviour(latency_factor=factor))
        yield Scenario(f"S2 latency x{factor:g}, bursts", Traffic(100.0, canary=slow, bursts=True), harmful=True)


def _scores() -> Iterator[Scenario]:
    for label, scale in (("x1.2", 1.2), ("constant", 0.0)):
        shifted = always(Behaviour(score_scale=scale))
        yield Scenario(f"S4 scores {label}", Traffic(100.0, canary=shifted), harmful=True)


def _late_faults() -> Iterator[Scenario]:
    yield Scenario("S5 errors grow to 5 % from 60 to 660 s", Traffic(100.0, canary=growing_errors), harmful=True)
    step = Traffic(100.0, canary=_error_step)
    yield Scenario("S5 errors step to 5 % at 1200 s", step, harmful=True, promotion=False)


def growing_errors(now_s: float) -> Behaviour:
    """From 0.1 to 5 % of errors, linearly between 60 and 660 s."""
    progress = min(max((now_s - 60.0) / 600.0, 0.0), 1.0)
    return Behaviour(error_rate=0.001 + progress * 0.049)


def _error_step(now_s: float) -> Behaviour:
    return Behaviour(error_rate=0.05) if now_s >= 1200.0 else GOOD


def _silence() -> Iterator[Scenario]:
    yield Scenario("S6 no traffic", Traffic(0.0), harmful=False)
    silent = always(Behaviour(silent=True))
    for rps in (10.0, 100.0):
        yield Scenario("S6 silent canary", Traffic(rps, canary=silent), harmful=True)


def _common_causes() -> Iterator[Scenario]:
    incident = Traffic(100.0, stable=_incident, canary=_incident)
    yield Scenario("S7 incident in both arms", incident, harmful=False, promotion=False)
    for label, rate in (("0.1 %", 0.001), ("0.5 %", 0.005)):
        busy = _overloaded(rate)
        traffic = Traffic(100.0, stable=busy, canary=busy, load=_time_of_day)
        yield Scenario(f"S9 time of day, errors {label} x load²", traffic, harmful=False, promotion=False)
    better = always(Behaviour(error_rate=1e-4, latency_factor=0.8))
    yield Scenario("S10 improvement", Traffic(100.0, canary=better), harmful=False)


def after_promotion() -> list[Scenario]:
    """What may happen to a version that was promoted ten minutes ago; for our engine alone, as the peers look no more.

    The time counts from the fault. The bar of the quiet hours is on alarms, all of which are false.
    """
    step = Traffic(100.0, canary=always(Behaviour(error_rate=0.05)))
    incident = Traffic(100.0, stable=_incident_now, canary=_incident_now)
    return [
        Scenario("S0 quiet after promotion", Traffic(100.0), harmful=False, duration_s=6 * _HOUR_S),
        Scenario("S5 errors step to 5 % after promotion", step, harmful=True, duration_s=300),
        Scenario("S7 incident in both arms after promotion", incident, harmful=False, duration_s=900),
    ]


def _incident(now_s: float) -> Behaviour:
    return _incident_now(now_s - 120.0)


def _incident_now(now_s: float) -> Behaviour:
    return replace(GOOD, error_rate=0.201, latency_factor=2.0) if 0.0 <= now_s < 120.0 else GOOD


def _time_of_day(now_s: float) -> float:
    """A day within the hour: 60 % above the mean at its height, 60 % below it at its low."""
    return 1.0 + 0.6 * sin(2.0 * pi * now_s / _HOUR_S)


def _overloaded(error_rate: float) -> Timeline:
    return lambda now_s: Behaviour(error_rate=error_rate * _time_of_day(now_s) ** 2)
