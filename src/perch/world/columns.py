"""How the market's indices become the columns of a log and the fields of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from perch.world.auctions import AuctionHouse
from perch.world.population import Ints, Reals
from perch.world.taste import DEVICES, POSITIONS, Contexts

Value = str | float | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of equal length, by name."""

    numbers: Mapping[str, Reals]
    """NaN is missing."""

    codes: Mapping[str, Ints]
    """Index into the column's names; -1 is missing."""


def context_columns(house: AuctionHouse, contexts: Contexts, recent_ctr: Reals, country: Ints) -> Columns:
    """Who asks, when and where; one row an auction."""
    users, user = house.users, contexts.user
    return Columns(
        numbers={
            "user_age_days": contexts.day + contexts.hour / 24 - users.birth_day[user],
            "user_recent_ctr": recent_ctr[user],
            "hour": contexts.hour,
        },
        codes={
            "user_id": user,
            "user_interest": users.known_interest[user],
            "country": country,
            "device": contexts.device,
            "site": contexts.site,
            "position": contexts.position,
        },
    )


def ad_columns(house: AuctionHouse, ad: Ints, time_days: Reals) -> Columns:
    """What an ad is; one row for each of `ad`, as of `time_days`."""
    ads = house.ads
    return Columns(
        numbers={"price": ads.known_price[ad], "ad_age_days": time_days - ads.birth_day[ad]},
        codes={"ad_id": ad, "advertiser_id": ads.advertiser[ad], "ad_category": ads.category[ad]},
    )


def column_names(house: AuctionHouse) -> dict[str, list[str]]:
    """The text of each code, by column."""
    categories = [f"category-{i}" for i in range(house.settings.categories)]
    return {
        "user_id": [f"user-{i}" for i in range(len(house.users.birth_day))],
        "user_interest": categories,
        "country": [f"country-{i}" for i in range(house.settings.countries)],
        "device": list(DEVICES),
        "site": [f"site-{i}" for i in range(house.settings.sites)],
        "position": list(POSITIONS),
        "ad_id": [f"ad-{i}" for i in range(len(house.ads.birth_day))],
        "advertiser_id": [f"advertiser-{i}" for i in range(house.settings.advertisers)],
        "ad_category": categories,
        "group": ["majority", "minority"],
    }


def rows(columns: Columns, names: Mapping[str, Sequence[str]]) -> list[dict[str, Value]]:
    """One dictionary a row, with `None` for what is missing."""
    values: dict[str, list[Value]] = {}
    for name, numbers in columns.numbers.items():
        values[name] = [None if isnan(number) else number for number in numbers.tolist()]
    for name, codes in columns.codes.items():
        texts = [*names[name], None]  # code -1 is the last one
        values[name] = [texts[code] for code in codes.tolist()]
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
