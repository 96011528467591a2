"""Inputs that are broken on purpose: is each found within two windows, and named?"""

from collections import Counter

import numpy as np
from benchmarks.drift.stream import Served, drawn

from perch.core.inputs import findings


def _constant(frame, name, _):
    value = frame[name].dropna().mode().iloc[0]
    return frame.assign(**{name: frame[name].where(frame[name] == value, value)})


def _missing(frame, name, rng):
    return frame.assign(**{name: frame[name].mask(rng.random(len(frame)) < 0.3)})


def _shuffled(frame, name, rng):
    return frame.assign(**{name: frame[name].take(rng.permutation(len(frame))).array})


BREAKS = {
    "constant": _constant,
    "times 2": lambda frame, name, _: frame.assign(**{name: 2 * frame[name]}),
    "30 % missing": _missing,
    "shuffled": _shuffled,
}


def found(served, day, how, name, rng):
    """Names of the inputs that are found after two broken windows that follow two others."""
    whole, broken = ([drawn(day, rng) for _ in range(2)] for _ in range(2))
    frames = whole + [BREAKS[how](frame, name, rng) for frame in broken]
    return {feature for finding in findings(served.after(frames)) for feature in finding.features}


def tell(*, seeds):
    """Print how many of the breaks were found and named, and which were not."""
    tried, hit, others, missed, calm = Counter(), Counter(), Counter(), Counter(), 0
    for seed in range(seeds):
        served, rng = Served.trained(seed), np.random.default_rng(seed)
        day = served.rows
        calm += bool(findings(served.after([drawn(day, rng) for _ in range(4)])))
        columns = [column.name for column in served.profile.columns]
        paired = {columns[i] for pair in served.profile.pairs for i in (pair.first, pair.second)}
        for how in BREAKS:
            for name in columns:
                if how == "times 2" and name not in served.scorer.schema.numeric:
                    continue
                kind = "shuffled, alone" if how == "shuffled" and name not in paired else how
                names = found(served, day, how, name, rng)
                tried[kind] += 1
                hit[kind] += name in names
                others[kind] += bool(names - {name})
                if name not in names:
                    missed[kind, name] += 1
    print(f"\nBroken inputs at 50 requests a second, {seeds} markets x their inputs: found in two windows, and named")
    for kind, count in tried.items():
        print(f"  {kind:<16} {hit[kind]:>4} of {count:<4} ({others[kind]} with another one named, too)")
    for (kind, name), times in sorted(missed.items()):
        print(f"  not found: {name}, {kind}: {times} times")
    print(f"  whole streams in which one was found: {calm} of {seeds}")
    return {kind: [hit[kind], count] for kind, count in tried.items()} | {"calm": [calm, seeds]}
