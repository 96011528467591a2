"""A market that a model serves hour by hour: it is asked which ad to show, and learns only of what was shown.

Tastes drift, ads and users are new each day, and for half a day the feed of clicks is broken: rows are delivered, and
no click of them is, until all are delivered again as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perch.signals.names import grid
from perch.workload.model import Scorer
from perch.world.auctions import AuctionHouse, Auctions
from perch.world.columns import Columns, ad_columns, column_names, context_columns
from perch.world.history import ClickHistory
from perch.world.market import START_S
from perch.world.population import Ints, Reals
from perch.world.settings import MarketSettings

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0

_EDGES = np.array(grid(1.0).score_logit)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, when."""

    impressions_per_day: int
    warm_days: int
    """Days whose log is there before any model serves; ads are shown by the true click rate then."""

    live_days: int
    broken_h: tuple[int, int]
    """The hours of the live days, from and to, in which no clicks are delivered."""

    settings: MarketSettings


@dataclass(frozen=True, slots=True)
class Served:
    """An hour of live traffic."""

    impressions: int
    regret: float
    """True click rate of the best candidates, minus that of what the model preferred, summed: clicks that were lost."""

    unknowable: float
    """That part of the regret which nobody avoids who knows only what the columns tell, at the least."""

    clicks_possible: float
    """True click rate of the best candidates, summed."""

    divergence: float
    """Excess log loss of the scores of what was shown over that of the true click rates, in nats, summed."""

    scores: tuple[int, ...]
    """Of the first candidates, which are any, by score bin."""

    requests: "Requests"


@dataclass(frozen=True, slots=True)
class Requests:
    """What is known of an hour's requests once their labels are final."""

    expected: Reals
    """Predicted click rates of what was shown."""

    clicked: NDArray[np.bool_]


class LiveMarket:
    """One seeded market and the log of what one way to choose ads has shown in it."""

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.scenario = scenario
        self._house = AuctionHouse(seed, scenario.settings)
        self._names = {name: pd.Index(texts) for name, texts in column_names(self._house).items()}
        self._history = ClickHistory(len(self._house.users.birth_day))
        self._seed = seed
        self._parts: list[pd.DataFrame] = []
        for hour in range(24 * scenario.warm_days):
            self._parts.append(self._hour(hour, None)[0])

    def log(self, hour: int, window_h: int) -> pd.DataFrame:
        """The last hours of the log, as it is delivered at the begin of an hour of the live days."""
        now = 24 * self.scenario.warm_days + hour
        parts = self._parts[max(now - window_h, 0) : now]
        log = pd.concat(parts, ignore_index=True)
        begin, end = self.scenario.broken_h
        if begin < hour <= end:
            broken_s = START_S + HOUR_S * (24 * self.scenario.warm_days + begin)
            lost = (log["time"] >= broken_s).to_numpy()
            log.loc[lost, "click"], log.loc[lost, "click_time"] = 0.0, np.nan
        unknown = (log["click_time"] > START_S + HOUR_S * now).to_numpy()  # a click that has not come yet
        log.loc[unknown, "click"], log.loc[unknown, "click_time"] = 0.0, np.nan
        return log

    def serve(self, hour: int, scorer: Scorer) -> Served:
        """Serve an hour of the live days by a model, and log it."""
        rows, served = self._hour(24 * self.scenario.warm_days + hour, scorer)
        self._parts.append(rows)
        assert served is not None, "a model served"
        return served

    def _hour(self, hour: int, scorer: Scorer | None) -> tuple[pd.DataFrame, Served | None]:
        rng = np.random.default_rng([self._seed, 5, hour])  # the same users come, whatever they are shown
        n, (day, hour_of_day) = int(rng.poisson(self.scenario.impressions_per_day / 24)), divmod(hour, 24)
        auctions = self._house.hold(rng, day, np.sort(hour_of_day + rng.random(n)))
        context = self._context(rng, auctions)
        scores = None if scorer is None else self._scores(scorer, auctions, context)
        best = np.argmax(auctions.true_ctr if scores is None else scores, axis=1)
        explored = rng.random(n) < self.scenario.settings.exploration
        shown = np.where(explored, 0, best)  # candidates are in random order: the first is any
        clicked = rng.random(n) < auctions.true_ctr[np.arange(n), shown]
        label = self._label(rng, auctions, explored, clicked)
        rows = self._rows(auctions, context, auctions.candidates[np.arange(n), shown], label)
        if scores is None:
            return rows, None
        return rows, _served(auctions, self._house.knowable_ctr(auctions), scores, shown, clicked)

    def _label(
        self, rng: np.random.Generator, auctions: Auctions, explored: NDArray[np.bool_], clicked: NDArray[np.bool_]
    ) -> dict[str, Reals]:
        """When each impression was, and what became of it."""
        time_s = START_S + DAY_S * (auctions.contexts.day + auctions.contexts.hour / 24)
        click_time_s = time_s + rng.exponential(self.scenario.settings.click_delay_s, len(time_s))
        self._history.add(auctions.contexts.user, clicked, click_time_s)
        return {
            "time": time_s,
            "explored": explored.astype(np.float64),
            "click": clicked.astype(np.float64),
            "click_time": np.where(clicked, click_time_s, np.nan),
        }

    def _context(self, rng: np.random.Generator, auctions: Auctions) -> Columns:
        users, user = self._house.users, auctions.contexts.user
        unknown = rng.random(len(user)) < self.scenario.settings.unknown_country
        midnight_s = START_S + DAY_S * auctions.contexts.day
        recent_ctr = self._history.recent_ctr(midnight_s)
        return context_columns(self._house, auctions.contexts, recent_ctr, np.where(unknown, -1, users.country[user]))

    def _scores(self, scorer: Scorer, auctions: Auctions, context: Columns) -> Reals:
        n, width = auctions.candidates.shape
        times = np.repeat(auctions.contexts.day + auctions.contexts.hour / 24, width)
        offers = ad_columns(self._house, auctions.candidates.ravel(), times)
        frame = self._frame(
            {name: np.repeat(values, width) for name, values in context.numbers.items()} | dict(offers.numbers),
            {name: np.repeat(codes, width) for name, codes in context.codes.items()} | dict(offers.codes),
        )
        return scorer.predict(scorer.transform.transform_frame(frame).values).reshape(n, width)

    def _rows(self, auctions: Auctions, context: Columns, ad: Ints, label: Mapping[str, Reals]) -> pd.DataFrame:
        """The log of what was shown."""
        offer = ad_columns(self._house, ad, auctions.contexts.day + auctions.contexts.hour / 24)
        group = {"group": self._house.users.group[auctions.contexts.user]}
        return self._frame({**label, **context.numbers, **offer.numbers}, {**context.codes, **offer.codes, **group})

    def _frame(self, numbers: Mapping[str, Reals], codes: Mapping[str, Ints]) -> pd.DataFrame:
        texts = {name: pd.Categorical.from_codes(values, self._names[name]) for name, values in codes.items()}
        return pd.DataFrame({**numbers, **texts})


def _served(auctions: Auctions, knowable_ctr: Reals, scores: Reals, shown: Ints, clicked: NDArray[np.bool_]) -> Served:
    """What is known of an hour by who knows the true click rates."""
    every = np.arange(len(shown))
    possible = auctions.true_ctr.max(axis=1).sum()
    got, gettable = (auctions.true_ctr[every, by.argmax(axis=1)].sum() for by in (scores, knowable_ctr))
    true, predicted = auctions.true_ctr[every, shown], scores[every, shown]
    divergence = true * np.log(true / predicted) + (1 - true) * np.log((1 - true) / (1 - predicted))
    logits = np.log(scores[:, 0] / (1 - scores[:, 0]))
    bins = np.bincount(np.searchsorted(_EDGES, logits), minlength=len(_EDGES) + 1)
    return Served(
        impressions=len(shown),
        regret=float(possible - got),
        unknowable=float(possible - gettable),
        clicks_possible=float(possible),
        divergence=float(divergence.sum()),
        scores=tuple(bins.tolist()),
        requests=Requests(predicted, clicked),
    )
