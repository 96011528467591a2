"""How groups of people fare: summed up in the store, of mature requests, so that no person's attribute leaves it."""

import numpy as np
import psycopg
import pytest

from event_stores import database_with_roles
from perch.adapters.events import fairness as adapter
from perch.adapters.events.people import Attribute
from perch.adapters.events.store import EventStore
from perch.core.fairness import FACTS, PRODUCTS
from perch.signals.events import Outcome, Prediction
from perch.signals.fairness import LEAST_USERS, MOST_GROUPS, Fairness, Served

WINDOW_S = 100.0
BEGIN_S = 1_000.0
NOW_S = 20_000.0


@pytest.fixture
def store(place):
    with EventStore(place, WINDOW_S, lambda: store.now_s) as store:
        store.now_s = NOW_S
        yield store


def serve(store, users, each=2, version="3", arm="stable", begin_s=BEGIN_S, seed=0):
    """Requests of users, some of them clicked; gives user, score and click of each."""
    rng = np.random.default_rng(seed)
    names = [f"{version} {arm} {i} {begin_s}" for i in range(len(users) * each)]
    who, scores = [*users] * each, rng.random(len(names)) * 0.5
    clicked = rng.random(len(names)) < scores
    store.add_predictions(
        [
            Prediction(name, "ads", version, arm, begin_s + i, float(score), 8, 0, user=user)
            for i, (name, user, score) in enumerate(zip(names, who, scores, strict=True))
        ]
    )
    store.add_outcomes([Outcome(names[i], 1, begin_s + i + 50) for i in np.flatnonzero(clicked)])
    return np.array(who), scores, clicked


def told(values, name="group"):
    """Attributes of users u0, u1, ... ."""
    return [Attribute(f"u{i}", name, value) for i, value in enumerate(values)]


def people(count, first=0):
    return [f"u{i}" for i in range(first, first + count)]


def sizes(store, since_s=0.0):
    return {(one.attribute, one.value): one.sums.users for one in store.fairness_since(since_s).groups}


def test_the_sums_of_a_group_are_those_of_its_users_requests(store):
    who, scores, clicked = serve(store, people(200), each=3)
    store.keep_attributes(told(["a" if i % 4 else "b" for i in range(200)]))
    found = store.fairness_since(0.0)
    assert found.served == (Served("3", "stable", 600, 600, BEGIN_S, BEGIN_S + 599),)
    assert [(one.value, one.sums.users) for one in found.groups] == [("a", 150), ("b", 50)]
    called = scores >= np.sort(scores)[::-1][30]
    losses = -np.log(np.where(clicked, scores, 1 - scores))
    facts = np.stack([np.ones(600), scores, clicked, called, called & clicked, losses], axis=1)
    for one in found.groups:
        members = [user for user in people(200) if (int(user[1:]) % 4 != 0) == (one.value == "a")]
        by_user = np.array([facts[who == user].sum(axis=0) for user in members])
        assert one.sums.sums == pytest.approx(by_user.sum(axis=0))
        products = [by_user[:, FACTS.index(a)] @ by_user[:, FACTS.index(b)] for a, b in PRODUCTS]
        assert one.sums.products == pytest.approx(products)


def test_the_young_and_the_copies_and_what_nobody_asked_for_count_nowhere(store):
    serve(store, people(60))
    serve(store, people(60), begin_s=NOW_S - WINDOW_S + 1)
    serve(store, people(60), arm="shadow", version="4")
    serve(store, [None] * 60, begin_s=BEGIN_S + 1_000)
    store.keep_attributes(told(["a"] * 60))
    found = store.fairness_since(0.0)
    assert found.served == (Served("3", "stable", 240, 120, BEGIN_S, BEGIN_S + 1_119),)
    assert [one.sums.of("requests") for one in found.groups] == [120.0]
    store.now_s += 1_000
    until_s = NOW_S - WINDOW_S + 120
    assert store.fairness_since(0.0).served == (Served("3", "stable", 360, 240, BEGIN_S, until_s),)
    assert store.fairness_since(NOW_S + 1_000).served == ()


def test_of_each_arm_the_version_it_had_last_is_told(store):
    serve(store, people(60), version="3")
    serve(store, people(60), version="4", begin_s=BEGIN_S + 500)
    serve(store, people(60), version="5", arm="canary")
    store.keep_attributes(told(["a"] * 60))
    found = store.fairness_since(0.0)
    assert [(one.version, one.arm) for one in found.groups] == [("4", "stable"), ("5", "canary")]


def test_small_groups_are_put_together_and_told_only_when_they_are_many(store):
    serve(store, people(3 * LEAST_USERS), each=1)
    values = ["large"] * LEAST_USERS + ["small"] * (LEAST_USERS - 1)
    store.keep_attributes(told(values))
    assert sizes(store) == {("group", "large"): LEAST_USERS}
    store.keep_attributes([Attribute(f"u{2 * LEAST_USERS}", "group", "alone")])
    assert sizes(store) == {("group", "large"): LEAST_USERS, ("group", None): LEAST_USERS}


def test_an_attribute_with_a_thousand_values_is_one_group_and_with_many_large_ones_the_largest_are_told(store):
    serve(store, people(1_000), each=1)
    store.keep_attributes(told([str(i) for i in range(1_000)]))
    assert sizes(store) == {("group", None): 1_000}
    with EventStore(
        store.engine.url.render_as_string(hide_password=False).removeprefix("sqlite:///"), WINDOW_S
    ) as many:
        users = people((MOST_GROUPS + 2) * LEAST_USERS)
        serve(many, users[1_000:], each=1, begin_s=BEGIN_S + 2_000)
        many.keep_attributes(told([f"{i % (MOST_GROUPS + 2):02}" for i in range(len(users))]))
        found = sizes(many)
    assert len(found) == MOST_GROUPS + 1
    assert found["group", None] == 2 * LEAST_USERS


def test_a_user_who_changes_groups_is_in_the_last_one_told_with_all_requests(store):
    serve(store, people(100), each=1)
    store.keep_attributes(told(["a"] * 50 + ["b"] * 50))
    assert sizes(store) == {("group", "a"): 50, ("group", "b"): 50}
    store.keep_attributes([Attribute("u50", "group", "a")])
    assert sizes(store) == {("group", "a"): 51}


def test_attributes_of_unknown_users_and_users_without_attributes_count_nowhere(store):
    serve(store, people(60))
    store.keep_attributes([Attribute(f"stranger {i}", "group", "a") for i in range(100)])
    found = store.fairness_since(0.0)
    assert (found.has_attributes, found.groups) == (True, ())


def test_without_any_attribute_nothing_is_summed_up(store):
    serve(store, people(60))
    assert store.fairness_since(0.0) == Fairness(0.0, NOW_S - WINDOW_S, has_attributes=False)


def test_of_too_many_requests_the_latest_are_looked_at_and_it_is_said_from_when_until_when(store, monkeypatch):
    monkeypatch.setattr(adapter, "MOST_REQUESTS", 60)
    serve(store, people(60), each=3)
    store.keep_attributes(told(["a"] * 60))
    found = store.fairness_since(0.0)
    assert found.served == (Served("3", "stable", 60, 60, BEGIN_S + 120, BEGIN_S + 179),)
    assert (found.from_s, found.until_s) == (0.0, NOW_S - WINDOW_S)


def test_a_small_arm_is_looked_at_whole_though_the_others_have_had_more_requests_since(store, monkeypatch):
    monkeypatch.setattr(adapter, "MOST_REQUESTS", 300)
    serve(store, people(60), version="4", arm="canary", each=1)
    serve(store, people(60), version="3", each=10, begin_s=BEGIN_S + 100)
    store.keep_attributes(told(["a"] * 60))
    found = store.fairness_since(0.0)
    assert found.served == (
        Served("3", "stable", 240, 240, BEGIN_S + 460, BEGIN_S + 699),
        Served("4", "canary", 60, 60, BEGIN_S, BEGIN_S + 59),
    )
    assert {(one.arm, one.sums.of("requests")) for one in found.groups} == {("stable", 240.0), ("canary", 60.0)}


def test_large_arms_share_what_is_looked_at(store, monkeypatch):
    monkeypatch.setattr(adapter, "MOST_REQUESTS", 120)
    for arm, begin_s in (("canary", BEGIN_S), ("stable", BEGIN_S + 500)):
        serve(store, people(60), arm=arm, each=3, begin_s=begin_s)
    store.keep_attributes(told(["a"] * 60))
    assert [one.requests for one in store.fairness_since(0.0).served] == [60, 60]


def test_no_arm_is_looked_for_among_all_that_a_busy_service_keeps(store, monkeypatch):
    monkeypatch.setattr(adapter, "MOST_SEARCHED", 600)
    serve(store, people(60), version="4", arm="canary", each=1)
    serve(store, people(60), version="3", each=10, begin_s=BEGIN_S + 100)
    store.keep_attributes(told(["a"] * 60))
    assert [one.arm for one in store.fairness_since(0.0).served] == ["stable"]


def test_a_score_of_no_or_full_certainty_spoils_no_sum(store):
    users = people(60)
    store.add_predictions(
        [
            Prediction(f"r{i}", "ads", "3", "stable", BEGIN_S, float(i % 2), 8, 0, user=user)
            for i, user in enumerate(users)
        ]
    )
    store.add_outcomes([Outcome(f"r{i}", 1, BEGIN_S + 1) for i in range(0, 60, 3)])
    store.keep_attributes(told(["a"] * 60))
    (group,) = store.fairness_since(0.0).groups
    assert group.sums.of("loss") == pytest.approx(-30 * np.log(1e-9), rel=1e-6)


def test_in_postgresql_groups_are_summed_up_under_the_role_that_the_attributes_belong_to(postgresql_url):
    url = database_with_roles(postgresql_url, "comparer")
    for _ in range(2):  # also of a store that is there
        with EventStore(url, WINDOW_S, lambda: NOW_S) as store:
            serve(store, people(60))
            store.keep_attributes(told(["a"] * 60))
            assert sizes(store) == {("group", "a"): 60}
        with psycopg.connect(url) as direct, pytest.raises(psycopg.errors.InsufficientPrivilege):
            direct.execute("SELECT * FROM attributes")
