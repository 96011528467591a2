"""How often a stream that stays as it was makes an alarm."""

import numpy as np

from perch.core.inputs import Counted, State, Window, judged

COLUMNS, WINDOWS_A_WEEK, TRAINED = 20, 2_016, 6_000


def alarms(weeks, rows, repeats, seed=0):
    """Alarms of 20 columns in so many weeks, where each user is seen `repeats` times in a window."""
    rng = np.random.default_rng([seed, rows, repeats])
    truth = [_shares(rng) for _ in range(COLUMNS)]
    columns = [_column(f"x{i}", rng.multinomial(TRAINED, shares)) for i, shares in enumerate(truth)]
    state, count, before = State(), 0, [None] * COLUMNS
    for number in range(round(WINDOWS_A_WEEK * weeks)):
        found = [tuple((repeats * rng.multinomial(rows // repeats, shares)).tolist()) for shares in truth]
        window = tuple(
            Counted(one.feature, "", one.bins, one.expected, now, 0.0, past)
            for one, now, past in zip(columns, found, before, strict=True)
        )
        drifted = {reading.feature for reading in state.readings.values() if reading.drifts}
        state, before = judged(state, Window(300.0 * number, 300.0 * (number + 1), 1, None, window)), found
        count += sum(reading.drifts and reading.feature not in drifted for reading in state.readings.values())
    return count


def _shares(rng):
    """A distribution over some bins, none, or nearly none, of which are missing or odd."""
    common = rng.dirichlet(np.full(rng.integers(3, 17), 2.0)) * 0.99
    return np.array([0.001, *common, 0.001, 0.008])


def _column(name, rows):
    bins = (*(f"{edge}.0" for edge in range(len(rows) - 2)), "+Inf", "missing")
    return Counted(name, "", bins, tuple(rows.tolist()), ())


def tell(*, weeks):
    """Print the alarms a week, by the size of the window."""
    print(f"\nFalse alarms a week, 20 inputs, windows of 5 minutes, {weeks:g} weeks each; 1 is the bar")
    figures = {}
    for rows, repeats in ((200, 1), (200, 4), (1_500, 1), (1_500, 4), (15_000, 1), (15_000, 4)):
        count = alarms(weeks, rows, repeats)
        figures[f"{rows} x {repeats}"] = count / weeks
        print(f"  {rows:>6,} requests a window, each user seen {repeats} times: {count / weeks:.2f}")
    return figures
