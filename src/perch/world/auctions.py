"""Auctions in bulk: contexts, candidate ads, bids, and the true click rate of each candidate."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perch.world.population import Ints, Reals, Users, draw, draw_ads, draw_users, present, zipf
from perch.world.settings import MarketSettings
from perch.world.taste import Contexts, Taste, draw_taste, log_odds, tastes

_HOURLY = np.array([3, 2, 1.5, 1, 1, 1.5, 3, 5, 6, 6, 6, 6.5, 7, 6.5, 6, 6, 6.5, 7, 8, 9, 9.5, 9, 7, 5])
_DEVICE_SHARES = np.array([0.6, 0.3, 0.1])
_POSITION_SHARES = np.array([0.4, 0.35, 0.25])
_PROBE = 4_096


@dataclass(frozen=True, slots=True)
class Auctions:
    """One entry an auction; two axes are (auction, candidate). Candidates are in random order."""

    contexts: Contexts
    candidates: Ints
    bids: Reals
    true_ctr: NDArray[np.float32]


class AuctionHouse:
    """Everything about a market that does not change with its traffic."""

    def __init__(self, seed: int, settings: MarketSettings) -> None:
        rng = np.random.default_rng([seed, 0])
        self.settings = settings
        self.users, self.ads = draw_users(rng, settings), draw_ads(rng, settings)
        taste = draw_taste(rng, settings)
        self._tastes = tastes(np.random.default_rng([seed, 3]), settings, taste) if settings.taste_drift else [taste]
        self._site_shares = zipf(settings.sites)
        self._intercept = 0.0
        self._intercept = self._balance(rng)

    def hold(self, rng: np.random.Generator, day: int, hours: Reals) -> Auctions:
        """Hold one auction at each of `hours` of `day`."""
        n, ads = len(hours), present(self.ads.birth_day, day)
        contexts = Contexts(
            day=day,
            hour=hours,
            user=draw(rng, self.users.popularity[: present(self.users.birth_day, day)], n),
            site=draw(rng, self._site_shares, n),
            device=draw(rng, _DEVICE_SHARES, n),
            position=draw(rng, _POSITION_SHARES, n),
        )
        candidates = draw(rng, self.ads.popularity[:ads], (n, self.settings.candidates))
        noise = np.exp(0.1 * rng.standard_normal(candidates.shape, np.float32))
        true_ctr = self._ctr(self.users, contexts, candidates)
        return Auctions(contexts, candidates, self.ads.bid[candidates] * noise, true_ctr)

    def knowable_ctr(self, auctions: Auctions) -> NDArray[np.float32]:
        """The click rate of each candidate to who knows all but what no column tells: a user's second interest."""
        second = np.zeros_like(self.users.second_interest)
        guesses = (replace(self.users, second_interest=second + each) for each in range(self.settings.categories))
        ctrs = [self._ctr(users, auctions.contexts, auctions.candidates) for users in guesses]
        return np.asarray(np.mean(ctrs, axis=0))

    def _ctr(self, users: Users, contexts: Contexts, candidates: Ints) -> NDArray[np.float32]:
        odds = log_odds(self._taste(contexts.day), users, self.ads, contexts, candidates) + np.float32(self._intercept)
        return np.asarray(1 / (1 + np.exp(-odds)))

    def _taste(self, day: int) -> Taste:
        return self._tastes[min(day, len(self._tastes) - 1)]

    def _balance(self, rng: np.random.Generator) -> float:
        """The constant at which the ads that win are clicked at the wanted rate, to a few percent of it."""
        auctions = self.hold(rng, 1, hours_of_day(rng, _PROBE))
        odds = auctions.true_ctr / (1 - auctions.true_ctr)
        won = np.argmax(auctions.bids * odds, axis=1)[:, None]
        return float(np.log(self.settings.mean_ctr / np.take_along_axis(odds, won, axis=1).mean()))


def hours_of_day(rng: np.random.Generator, n: int) -> Reals:
    """Draw `n` times of a day, in hours, in random order: quiet at night, busy in the evening."""
    cumulative = np.concatenate([[0], np.cumsum(_HOURLY / _HOURLY.sum())])
    return np.interp(rng.random(n), cumulative, np.arange(25))


def winners(rng: np.random.Generator, auctions: Auctions, exploration: float) -> tuple[Ints, NDArray[np.bool_]]:
    """Index of the candidate that is shown in each auction, and whether it was drawn at random.

    It is the one of the highest expected value (bid times true click rate), or any in the share of `exploration`.
    """
    best = np.argmax(auctions.bids * auctions.true_ctr, axis=1)
    explored = rng.random(len(best)) < exploration
    return np.where(explored, 0, best), explored  # candidates are in random order: the first is any
