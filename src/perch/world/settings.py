"""The size and the habits of a market."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """What a market is made of. The defaults fill a log of 300,000 impressions over 14 days."""

    users: int = 20_000
    """Users on the first day."""

    new_users_per_day: int = 1_000
    ads: int = 600
    """Ads on the first day."""

    new_ads_per_day: int = 25
    advertisers: int = 120
    categories: int = 12
    sites: int = 40
    countries: int = 10

    horizon_days: int = 60
    """Days until nobody new arrives."""

    candidates: int = 8
    """Ads that compete in an auction."""

    exploration: float = 0.1
    """Share of the auctions whose winner is drawn at random. It keeps the log from showing only what is known."""

    taste_drift: float = 0.0
    """Share of what people like that is another thing a day later, in variance: at 0 it never changes."""

    mean_ctr: float = 0.02
    """Click rate that the market is balanced at."""

    click_delay_s: float = 1_800.0
    """Mean time from an impression to its click, in simulated seconds."""

    live_click_delay_s: float = 2.0
    """Mean time from an answered request to its click, in real seconds."""

    conversion_rate: float = 0.1
    """Share of the clicks that are followed by a purchase."""

    unknown_interest: float = 0.15
    """Share of the users whose interest is not known."""

    unknown_price: float = 0.05
    """Share of the ads whose price is not known."""

    unknown_country: float = 0.02
    """Share of the impressions whose country is not known."""
