"""Who is in the market: users and ads with a heavy-tailed popularity, some there from the start, some arriving daily.

Both are kept in the order of arrival, so the ones present on a day are a prefix of each array.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perch.world.settings import MarketSettings

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]

_ZIPF_EXPONENT = 0.8
_TABLE_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class Users:
    """One entry a user."""

    birth_day: Reals
    """Day of arrival; before 0 for those who were there first."""

    popularity: Reals
    """How often the user comes, relative to the others."""

    interest: Ints
    """Category that the user likes best."""

    known_interest: Ints
    """The same as far as it is known, else -1."""

    second_interest: Ints
    country: Ints
    group: Ints
    """A sensitive attribute. It has no effect on clicks, goes with the country, and is never an input of a model."""

    propensity: Reals
    """Effect on the log-odds of every click of the user."""


@dataclass(frozen=True, slots=True)
class Ads:
    """One entry an ad."""

    birth_day: Reals
    popularity: Reals
    category: Ints
    advertiser: Ints
    price: Reals
    known_price: Reals
    """The same as far as it is known, else NaN."""

    bid: Reals
    """What the advertiser pays for a click."""

    quality: Reals
    """Effect on the log-odds of every click on the ad."""


def draw_users(rng: np.random.Generator, settings: MarketSettings) -> Users:
    """Draw everybody who will ever come."""
    birth = _births(rng, settings.users, settings.new_users_per_day, settings.horizon_days, mean_age_days=200)
    n, categories = len(birth), settings.categories
    country = rng.choice(settings.countries, n, p=zipf(settings.countries))
    interest = rng.choice(categories, n, p=zipf(categories, 0.4))
    return Users(
        birth_day=birth,
        popularity=rng.permutation(zipf(n)),
        interest=interest,
        known_interest=np.where(rng.random(n) < settings.unknown_interest, -1, interest),
        second_interest=rng.integers(0, categories, n),
        country=country,
        group=(rng.random(n) < np.where(country % 2, 0.4, 0.1)).astype(np.int64),
        propensity=rng.normal(0, 0.3, n),
    )


def draw_ads(rng: np.random.Generator, settings: MarketSettings) -> Ads:
    """Draw every ad that will ever run. An advertiser keeps to one category and one level of price and quality."""
    birth = _births(rng, settings.ads, settings.new_ads_per_day, settings.horizon_days, mean_age_days=15)
    n = len(birth)
    category = rng.integers(0, settings.categories, settings.advertisers)
    price_level = rng.normal(3, 0.6, settings.advertisers)
    quality_level = rng.normal(0, 0.25, settings.advertisers)
    advertiser = rng.choice(settings.advertisers, n, p=zipf(settings.advertisers, 0.5))
    price = np.exp(price_level[advertiser] + rng.normal(0, 0.5, n))
    return Ads(
        birth_day=birth,
        popularity=rng.permutation(zipf(n)),
        category=category[advertiser],
        advertiser=advertiser,
        price=price,
        known_price=np.where(rng.random(n) < settings.unknown_price, np.nan, price),
        bid=np.exp(rng.normal(-0.7, 0.35, n)),
        quality=quality_level[advertiser] + rng.normal(0, 0.4, n),
    )


def zipf(n: int, exponent: float = _ZIPF_EXPONENT) -> Reals:
    """Shares of `n` things of which the k-th is `k ** -exponent` as popular as the first."""
    weights = np.arange(1, n + 1) ** -exponent
    return np.asarray(weights / weights.sum())


def draw(rng: np.random.Generator, weights: Reals, shape: int | tuple[int, int]) -> Ints:
    """Draw indices by weight, to a 65,536th: a look-up each, which is what makes bulk generation quick."""
    cumulative = np.cumsum(weights)
    levels = (np.arange(_TABLE_SIZE) + 0.5) / _TABLE_SIZE * cumulative[-1]
    table = np.searchsorted(cumulative, levels)
    return np.asarray(table[rng.integers(0, _TABLE_SIZE, shape, dtype=np.uint16)])


def present(birth_day: Reals, day: int) -> int:
    """How many of the prefix have arrived by midnight before `day`."""
    return int(np.searchsorted(birth_day, day))


def _births(rng: np.random.Generator, first: int, daily: int, horizon_days: int, *, mean_age_days: float) -> Reals:
    old = -rng.exponential(mean_age_days, first)
    new = rng.uniform(0, horizon_days, daily * horizon_days)
    return np.sort(np.concatenate([old, new]))
