"""A market over time: the log of its past, then the live requests that follow it."""

from typing import TYPE_CHECKING

import numpy as np

from perch.world.auctions import AuctionHouse, Auctions, hours_of_day, winners
from perch.world.columns import Columns, ad_columns, column_names, context_columns, rows
from perch.world.history import ClickHistory
from perch.world.population import Ints, Reals
from perch.world.requests import Click, SlateRequest
from perch.world.settings import MarketSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

START_S = 1_767_225_600
"""Midnight before the first day: 1 January 2026, in seconds since the epoch."""

_DAY_S = 86_400


class Market:
    """One seeded market. Equal seeds, settings and calls give equal logs and requests."""

    def __init__(self, seed: int = 0, settings: MarketSettings | None = None) -> None:
        self.settings = settings or MarketSettings()
        self._seed = seed
        self._house = AuctionHouse(seed, self.settings)
        self._names = column_names(self._house)
        self._live = np.random.default_rng([seed, 2])
        self._served = 0
        self._restart()

    def log(self, days: int = 14, impressions: int = 300_000) -> "pd.DataFrame":
        """The click log of the first `days`, in order of time; live requests follow it.

        Columns are those of `perch.workload.schema.CLICK_LOG`, with `bid`, `conversion` and `value`. Text columns
        are categorical, times in seconds since the epoch.
        """
        import pandas as pd

        return pd.concat(self.days(days, impressions), ignore_index=True)

    def days(self, days: int, impressions: int) -> "Iterator[pd.DataFrame]":
        """The same log a day at a time, for one that is too long to hold."""
        import pandas as pd

        self._restart()
        rng = np.random.default_rng([self._seed, 1])
        for n in np.diff(np.linspace(0, impressions, days + 1).astype(np.int64)).tolist():
            day = self._log_day(rng, n)
            coded = {
                name: pd.Categorical.from_codes(codes, pd.Index(self._names[name])) for name, codes in day.codes.items()
            }
            yield pd.DataFrame({**day.numbers, **coded})

    def requests(self, n: int) -> list[SlateRequest]:
        """The next `n` live requests: the day after the log, its hours in random order.

        Call `log` first; without it no user has a past. This takes far longer than a request may, so make many in
        advance.
        """
        auctions = self._house.hold(self._live, self._day, hours_of_day(self._live, n))
        contexts = rows(self._contexts(self._live, auctions), self._names)
        times = np.repeat(self._day + auctions.contexts.hour / 24, self.settings.candidates)
        ads = rows(ad_columns(self._house, auctions.candidates.ravel(), times), self._names)
        width, first = self.settings.candidates, self._served
        self._served += n
        facts = zip(
            contexts,
            (ads[i : i + width] for i in range(0, len(ads), width)),
            auctions.bids.tolist(),
            auctions.true_ctr.tolist(),
            self._live.random(n).tolist(),
            self._live.exponential(self.settings.live_click_delay_s, n).tolist(),
            self._purchases(self._live, auctions.candidates[:, 0]).tolist(),
            strict=True,
        )
        return [SlateRequest(f"{self._seed}-{number}", *fact) for number, fact in enumerate(facts, first)]

    @staticmethod
    def click(request: SlateRequest, shown_index: int) -> Click:
        """What the user does with the candidate that was shown: always the same."""
        return request.click(shown_index)

    def _restart(self) -> None:
        self._day = 0
        self._history = ClickHistory(len(self._house.users.birth_day))

    def _log_day(self, rng: np.random.Generator, n: int) -> Columns:
        auctions = self._house.hold(rng, self._day, np.sort(hours_of_day(rng, n)))
        shown, explored = winners(rng, auctions, self.settings.exploration)
        every = np.arange(n)
        ad, hour, user = auctions.candidates[every, shown], auctions.contexts.hour, auctions.contexts.user
        context = self._contexts(rng, auctions)
        offer = ad_columns(self._house, ad, self._day + hour / 24)
        clicked = rng.random(n) < auctions.true_ctr[every, shown]
        time_s = START_S + _DAY_S * (self._day + hour / 24)
        click_time_s = time_s + rng.exponential(self.settings.click_delay_s, n)
        value = np.where(clicked, self._purchases(rng, ad), 0)
        self._history.add(user, clicked, click_time_s)
        self._day += 1
        return Columns(
            numbers={
                "time": time_s,
                **context.numbers,
                **offer.numbers,
                "bid": auctions.bids[every, shown],
                "explored": explored.astype(np.int64),
                "click": clicked.astype(np.int64),
                "click_time": np.where(clicked, click_time_s, np.nan),
                "conversion": (value > 0).astype(np.int64),
                "value": value,
            },
            codes={**context.codes, **offer.codes, "group": self._house.users.group[user]},
        )

    def _contexts(self, rng: np.random.Generator, auctions: Auctions) -> Columns:
        midnight_s = START_S + _DAY_S * self._day
        country = self._house.users.country[auctions.contexts.user]
        unknown = rng.random(len(country)) < self.settings.unknown_country
        recent_ctr = self._history.recent_ctr(midnight_s)
        return context_columns(self._house, auctions.contexts, recent_ctr, np.where(unknown, -1, country))

    def _purchases(self, rng: np.random.Generator, ad: Ints) -> Reals:
        """What a click on each ad is followed by: a purchase near its price, or 0."""
        bought = rng.random(len(ad)) < self.settings.conversion_rate
        return np.where(bought, self._house.ads.price[ad] * rng.uniform(0.5, 1.5, len(ad)), 0)
