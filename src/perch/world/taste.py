"""The true click probability: what a model tries to learn, and never sees.

The log-odds are a sum of effects. Some are easy (the device, the slot on the page), some need the combination of
two columns (whose interest meets which category, which site carries it) and some are curved (the price that fits a
device, the hour, how long an ad has been running). A few additive features cannot follow; trees can.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perch.world.population import Ads, Ints, Reals, Users
from perch.world.settings import MarketSettings

DEVICES = ("mobile", "desktop", "tablet")
POSITIONS = ("top", "side", "bottom")

_DEVICE_EFFECT = np.array([0.15, -0.1, 0.0])
_DEVICE_LOG_PRICE = np.array([2.4, 3.5, 3.0])  # cheap things sell on phones, dear ones on desktops
_POSITION_EFFECT = np.array([0.35, -0.1, -0.45])
_LOYALTY = 1.8  # to the category that a user likes best
_FASHION = 1.2


@dataclass(frozen=True, slots=True)
class Taste:
    """The effects that belong to no single user or ad."""

    interest: Reals
    """Shape (interest, category)."""

    site: Reals
    """Shape (site, category)."""

    peak_hour: Reals
    """Hour of the day in which a category does best."""

    fashion: Reals
    """How much a category is in fashion."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """Who asks for an ad, when and where; one entry an auction."""

    day: int
    hour: Reals
    """Hour of the day with fraction, 0 to 24."""

    user: Ints
    site: Ints
    device: Ints
    position: Ints


def draw_taste(rng: np.random.Generator, settings: MarketSettings) -> Taste:
    """Draw what people like."""
    categories = settings.categories
    return Taste(
        interest=rng.normal(0, 0.3, (categories, categories)) + _LOYALTY * np.eye(categories),
        site=rng.normal(0, 0.35, (settings.sites, categories)),
        peak_hour=rng.uniform(0, 24, categories),
        fashion=np.zeros(categories),
    )


def tastes(rng: np.random.Generator, settings: MarketSettings, first: Taste) -> list[Taste]:
    """What people like at the midnight before each day, when a share of it is drawn anew from day to day.

    As much is liked and disliked on each day, only by others, elsewhere and at another hour; categories come into
    fashion, and go out of it. What a user likes best stays.
    """
    kept, drawn = np.sqrt(1 - settings.taste_drift), np.sqrt(settings.taste_drift)
    loyal = _LOYALTY * np.eye(settings.categories)
    found = [first]
    for _ in range(settings.horizon_days):
        new, old = draw_taste(rng, settings), found[-1]
        moved = kept * (old.interest - loyal) + drawn * (new.interest - loyal)
        turned = np.where(rng.random(len(old.peak_hour)) < settings.taste_drift, new.peak_hour, old.peak_hour)
        fashion = kept * old.fashion + drawn * rng.normal(0, _FASHION, settings.categories)
        found.append(Taste(loyal + moved, kept * old.site + drawn * new.site, turned, fashion))
    return found


def log_odds(taste: Taste, users: Users, ads: Ads, contexts: Contexts, candidates: Ints) -> NDArray[np.float32]:
    """True log-odds of a click on each candidate, up to the market's constant.

    Args:
        taste: What people like.
        users: All users.
        ads: All ads.
        contexts: One entry an auction.
        candidates: Indices of ads, shape (auctions, candidates).

    Effects that involve an ad become one table (other side, ad) a day, so that an auction costs five look-ups a
    candidate.
    """
    user = contexts.user
    of_ad = ads.quality + _novelty(contexts.day - ads.birth_day) + taste.fashion[ads.category]
    tables = [
        (taste.interest[:, ads.category] + of_ad, users.interest[user]),
        (0.5 * taste.interest[:, ads.category], users.second_interest[user]),
        (taste.site[:, ads.category], contexts.site),
        (-0.5 * (np.log(ads.price) - _DEVICE_LOG_PRICE[:, None]) ** 2, contexts.device),
        (_rhythm(np.arange(24)[:, None] + 0.5 - taste.peak_hour[ads.category]), contexts.hour.astype(np.int64)),
    ]
    total = np.empty(candidates.shape, np.float32)
    total[:] = _context_effect(users, contexts)[:, None]
    for table, row in tables:
        total += table.astype(np.float32).ravel()[row[:, None] * len(ads.price) + candidates]
    return total


def _context_effect(users: Users, contexts: Contexts) -> Reals:
    age_days = contexts.day - users.birth_day[contexts.user]
    curiosity = 0.4 * np.exp(-np.maximum(age_days, 0) / 10)
    effect = _DEVICE_EFFECT[contexts.device] + _POSITION_EFFECT[contexts.position]
    return np.asarray(effect + curiosity + users.propensity[contexts.user])


def _novelty(age_days: Reals) -> Reals:
    """An ad wears off within days."""
    return np.asarray(0.4 * np.exp(-np.maximum(age_days, 0) / 4))


def _rhythm(hours_from_peak: Reals) -> Reals:
    return np.asarray(0.7 * np.cos(2 * np.pi * hours_from_peak / 24))
