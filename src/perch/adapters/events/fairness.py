"""Sums up how groups of people fare, in the store: a row with a person's attribute never leaves it.

It is summed up in one transaction, under the role that the sensitive attributes belong to. Groups of fewer than
`LEAST_USERS` users are put together, as are those behind the first `MOST_GROUPS`; these are told if they are as many.
That keeps an answer from pointing at a person. It does not keep one who asks again and again, and also reads the
events, from learning something by the differences: the control token opens both.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection, text

from perch.adapters.events import schema
from perch.core.fairness import CALLED_SHARE, FACTS, PRODUCTS, Sums
from perch.signals.events import CLICK
from perch.signals.fairness import LEAST_USERS, MOST_GROUPS, MOST_REQUESTS, MOST_SEARCHED, Fairness, Group, Served

_MATURE: Final = "live.shadow = 0 AND live.time_s > :from_s AND live.time_s <= :until_s"

_OF_ARM: Final = f"{_MATURE} AND live.arm = :arm"

_REACH = "SELECT time_s FROM predictions AS live WHERE {of} ORDER BY time_s DESC LIMIT 1 OFFSET :most"
_REACH_OF_ALL, _REACH_OF_ARM = (text(_REACH.format(of=of)) for of in (_MATURE, _OF_ARM))
"""Time of the last request that is one too many."""

_ARMS = text(f"SELECT arm, count(*) AS requests FROM predictions AS live WHERE {_MATURE} GROUP BY arm")  # noqa: S608  words of ours

_SERVED = text(f"""
SELECT version, arm, count(*), count(user_id), min(time_s), max(time_s) AS last_s
FROM predictions AS live WHERE {_OF_ARM} GROUP BY version, arm ORDER BY last_s DESC LIMIT 1
""")  # noqa: S608  words of ours

_THRESHOLD = text(f"""
SELECT score FROM predictions AS live WHERE {_OF_ARM} AND version = :version
ORDER BY score DESC LIMIT 1 OFFSET :called
""")  # noqa: S608  words of ours

_ANY = text("SELECT count(*) FROM (SELECT * FROM attributes LIMIT 1) AS one")

_GROUPS = text(f"""
WITH requests AS (
    SELECT live.user_id AS user_id, live.score AS score,
        CASE WHEN click.label IS NULL THEN 0 ELSE 1 END AS clicked,
        CASE WHEN live.score >= :threshold THEN 1 ELSE 0 END AS called
    FROM predictions AS live
    LEFT JOIN outcomes AS click ON click.request_id = live.request_id
        AND click.source = '{CLICK}' AND click.result = 'joined' AND click.label = 1
    WHERE {_OF_ARM} AND live.version = :version AND live.user_id IS NOT NULL
), users AS (
    SELECT user_id, CAST(count(*) AS DOUBLE PRECISION) AS requests, sum(score) AS predicted,
        CAST(sum(clicked) AS DOUBLE PRECISION) AS clicks, CAST(sum(called) AS DOUBLE PRECISION) AS called,
        CAST(sum(clicked * called) AS DOUBLE PRECISION) AS hits,
        -sum(ln(CASE
            WHEN clicked = 1 THEN CASE WHEN score > 1e-9 THEN score ELSE 1e-9 END
            ELSE CASE WHEN score < 1 - 1e-9 THEN 1 - score ELSE 1e-9 END
        END)) AS loss
    FROM requests GROUP BY user_id
), told AS (
    SELECT attributes.name AS name, attributes.value AS value, users.*
    FROM users JOIN attributes ON attributes.user_id = users.user_id
), sizes AS (
    SELECT name, value, count(*) AS users, row_number() OVER (PARTITION BY name ORDER BY count(*) DESC, value) AS place
    FROM told GROUP BY name, value
), named AS (
    SELECT told.*, CASE WHEN sizes.users >= {LEAST_USERS} AND sizes.place <= {MOST_GROUPS} THEN told.value END AS part
    FROM told JOIN sizes ON sizes.name = told.name AND sizes.value = told.value
)
SELECT name, part, count(*), {", ".join(f"sum({fact})" for fact in FACTS)},
    {", ".join(f"sum({one} * {other})" for one, other in PRODUCTS)}
FROM named GROUP BY name, part HAVING count(*) >= {LEAST_USERS}
ORDER BY name, CASE WHEN part IS NULL THEN 1 ELSE 0 END, count(*) DESC, part
""")  # noqa: S608  words of ours


def fairness(connection: Connection, since_s: float, mature_s: float) -> Fairness:
    """How groups fared with the version that each arm had last.

    Args:
        connection: To the event store, of a transaction that does nothing else.
        since_s: Requests after this time, and of them the last ones, see `MOST_REQUESTS`.
        mature_s: Requests up to this time have reached the end of the attribution window.
    """
    schema.take_attributes_role(connection)
    if not connection.scalar(_ANY):
        return Fairness(since_s, mature_s, has_attributes=False)
    spans = _spans(connection, {"from_s": since_s, "until_s": mature_s})
    looked = [(Served(*row), span) for span in spans for row in connection.execute(_SERVED, span)]
    looked.sort(key=lambda one: (one[0].version, one[0].arm))
    groups = tuple(group for one, span in looked for group in _groups(connection, one, span))
    return Fairness(since_s, mature_s, has_attributes=True, served=tuple(one for one, _ in looked), groups=groups)


def _spans(connection: Connection, asked: Mapping[str, float]) -> Iterator[Mapping[str, float | str]]:
    """What is looked at of each arm."""
    reach_s = connection.scalar(_REACH_OF_ALL, {**asked, "most": MOST_SEARCHED})
    searched = {**asked, "from_s": reach_s or asked["from_s"]}
    counts = {row.arm: row.requests for row in connection.execute(_ARMS, searched)}
    for arm, most in _allotted(counts).items():
        span = {**searched, "arm": arm}
        yield {**span, "from_s": connection.scalar(_REACH_OF_ARM, {**span, "most": most}) or span["from_s"]}


def _allotted(counts: Mapping[str, int]) -> dict[str, int]:
    """How many requests of each arm are looked at: all of a small one, and equally many of those that have more."""
    left, allotted = MOST_REQUESTS, dict[str, int]()
    for arm in sorted(counts, key=counts.__getitem__):
        allotted[arm] = min(counts[arm], left // (len(counts) - len(allotted)))
        left -= allotted[arm]
    return allotted


def _groups(connection: Connection, one: Served, span: Mapping[str, float | str]) -> Iterator[Group]:
    side = {**span, "version": one.version}
    threshold = connection.scalar(_THRESHOLD, {**side, "called": int(CALLED_SHARE * one.requests)})
    for name, value, users, *sums in connection.execute(_GROUPS, {**side, "threshold": threshold}):
        of = Sums(users, tuple(sums[: len(FACTS)]), tuple(sums[len(FACTS) :]))
        yield Group(one.version, one.arm, name, value, of)
