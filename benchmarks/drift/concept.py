"""Is a change of tastes told from a change of inputs, and both from nothing?"""

from collections import Counter

import numpy as np
from benchmarks.drift.stream import Served, drawn

from perch.core.diagnosis import Cause, diagnose
from perch.core.inputs import findings, score_drift
from perch.core.recalibration import change

ROWS_A_DAY = 250_000
"""Of which a fifth of six days are judged, with some 1,700 clicks: one in 160, for every ad is drawn at random."""

TASTE_DRIFT = 0.3
"""Share of what people like that is another thing a day later; five days have passed."""


def diagnosed(served, before, day, rng, alter=lambda frame: frame):
    """What has moved between a day and another one."""
    day = alter(day)
    state = served.after([drawn(day, rng) for _ in range(4)])
    return diagnose(findings(state), score_drift(state), change(before, served.outcomes(day)))


def cases(seed, rows_a_day=ROWS_A_DAY):
    """The cause that is found for each thing that happened."""
    served, rng = Served.trained(seed, rows_a_day), np.random.default_rng(seed)
    before, tastes = served.outcomes(served.others()), served.with_other_tastes(TASTE_DRIFT)
    dearer = lambda frame: frame.assign(price=1.5 * frame["price"])  # noqa: E731
    return {
        "nothing": diagnosed(served, before, served.rows, rng).cause,
        "tastes change": diagnosed(served, before, tastes, rng).cause,
        "prices rise by half": diagnosed(served, before, served.rows, rng, dearer).cause,
        "both": diagnosed(served, before, tastes, rng, dearer).cause,
    }


def tell(*, seeds):
    """Print how often each thing that happened was given which cause."""
    found = {}
    for seed in range(seeds):
        for happened, cause in cases(seed).items():
            found.setdefault(happened, Counter())[cause] += 1
    print(f"\nWhat moved first, in {seeds} markets")
    for happened, causes in found.items():
        print(f"  {happened:<20} " + ", ".join(f"{cause}: {count}" for cause, count in causes.most_common()))
    told = sum(found["tastes change"][cause] for cause in (Cause.CONCEPT, Cause.LABELS))
    print(f"  a change of tastes is told from one of inputs in {told / seeds:.0%}")
    return {happened: dict(causes) for happened, causes in found.items()}
