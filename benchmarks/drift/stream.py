"""A model of the simulated market, and windows of what it is asked about: rows of the days on which it was judged.

A stream whose inputs stay as they were has the same distribution as the profile, so its windows are drawn from the rows
that the profile was counted on. Other days of the market would not do: new ads come, some of them popular, and what a
user has clicked lately is another thing each day. There, inputs move indeed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from perch.core.inputs import Counted, State, Window, judged
from perch.core.recalibration import Outcomes
from perch.pipeline.features import prepare
from perch.pipeline.profile import profile
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.train import fit
from perch.workload.profile import LEVELS, SCORE, Profile, column_bins, number_bins
from perch.workload.schema import CLICK_LOG
from perch.world.market import Market
from perch.world.settings import MarketSettings

if TYPE_CHECKING:
    from perch.workload.model import Scorer

DAYS = 6
ROWS_A_DAY = 30_000
WINDOW_ROWS = 15_000
"""Five minutes at 50 requests a second."""


def days(seed, rows, taste_drift=0.0):
    """The first days of a market; every ad is drawn at random, as the first candidate of a request is."""
    settings = MarketSettings(exploration=1.0, taste_drift=taste_drift)
    return list(Market(seed, settings).days(DAYS, DAYS * rows))


@dataclass(frozen=True, slots=True)
class Served:
    """A model, and its market."""

    seed: int
    rows_a_day: int
    scorer: "Scorer"
    profile: Profile
    rows: pd.DataFrame
    """That the profile was counted on, with their clicks."""

    @classmethod
    def trained(cls, seed, rows_a_day=ROWS_A_DAY):
        """Train on the first days of a market."""
        log = pd.concat(days(seed, rows_a_day), ignore_index=True)
        settings = PipelineSettings(seed=seed)
        prepared = prepare(log, CLICK_LOG, settings, data_digest="", kinds=("lightgbm",))
        scorer = fit(prepared, "lightgbm", settings)
        return cls(seed, rows_a_day, scorer, profile(scorer, prepared), prepared.evaluation)

    def others(self):
        """The same days of the same market by other users' luck: one row more a day makes other days of them."""
        log = pd.concat(days(self.seed, self.rows_a_day + 1))
        time_s = self.rows["time"]
        return log[log["time"].between(time_s.min(), time_s.max())].reset_index(drop=True)

    def with_other_tastes(self, taste_drift):
        """The same rows, clicked by people whose tastes have changed since the first day."""
        log = pd.concat(days(self.seed, self.rows_a_day, taste_drift), ignore_index=True).loc[self.rows.index]
        if not (log["ad_id"].to_numpy() == self.rows["ad_id"].to_numpy()).all():
            raise RuntimeError("The market has asked about other ads.")
        return self.rows.assign(click=log["click"])

    def after(self, windows):
        """What is known after windows of such rows."""
        state, before = State(), ()
        for number, frame in enumerate(windows):
            before = self.counted(frame, before)
            state = judged(state, Window(300.0 * number, 300.0 * (number + 1), 1, None, before))
        return state

    def counted(self, frame, before=()):
        """What serving would have counted of these rows, after the window of `before`."""
        transform, columns, score = self.scorer.transform, self.profile.columns, self.profile.score
        matrix = transform.transform_frame(frame)
        bins = [column_bins(column, i, matrix, transform) for i, column in enumerate(columns)]
        levels = [np.array(column.levels)[found] for column, found in zip(columns, bins, strict=True)]
        parts = [(c.name, "", c.bins, c.rows, c.natural, f) for c, f in zip(columns, bins, strict=True)]
        for pair in self.profile.pairs:
            cells = LEVELS * levels[pair.first] + levels[pair.second]
            named = columns[pair.first].name, columns[pair.second].name
            parts.append((*named, tuple(map(str, range(LEVELS**2))), pair.rows, pair.natural, cells))
        probability = self.scorer.predict(matrix.values)
        logits = np.log(probability / (1 - probability))
        parts.append((SCORE, "", score.bins, score.rows, score.natural, number_bins(score, logits)))
        previous = [one.found for one in before] or [None] * len(parts)
        return tuple(
            Counted(name, other, names, rows, tuple(np.bincount(found, minlength=len(rows)).tolist()), natural, past)
            for (name, other, names, rows, natural, found), past in zip(parts, previous, strict=True)
        )

    def outcomes(self, frame):
        """What followed from the scores of these rows."""
        matrix = self.scorer.transform.transform_frame(frame)
        p, clicked = self.scorer.predict(matrix.values), frame["click"].to_numpy()
        z, weight = np.log(p / (1 - p)), p * (1 - p)
        sums = (p, (clicked - p) * z, weight, weight * z, weight * z * z)
        return Outcomes(len(p), int(clicked.sum()), *(float(one.sum()) for one in sums))


def drawn(frame, rng, rows=WINDOW_ROWS):
    """A window of rows."""
    return frame.iloc[rng.integers(0, len(frame), rows)].reset_index(drop=True)
