"""Which labels a rollout is given, and that it is given each of them once."""

from dataclasses import replace

import numpy as np
import pytest

from event_stores import sql
from perch.adapters.events import labels
from perch.adapters.events.store import EventStore
from perch.core.clicks import Clicks
from perch.core.paired import POINTS, loss, spread
from perch.core.types import Cohort
from perch.signals.events import Outcome, Prediction
from perch.signals.labels import Comparison, Cursor

WINDOW_S = 50.0
BEGIN_S = 1_000.0
ROLLOUT = Comparison(stable="1", canary="2", since_s=BEGIN_S)
FRESH = Cursor()


@pytest.fixture
def store(place):
    """A store whose clock is set by the test: `store.now_s`."""
    with EventStore(place, WINDOW_S, lambda: store.now_s) as store:
        store.now_s = BEGIN_S
        yield store


def answered(request_id, time_s=BEGIN_S + 1, arm="stable", score=0.1, shown=0, **other):
    version = {"stable": "1", "baseline": "0"}.get(arm, "2")
    prediction = Prediction(request_id, "ads", version, arm, time_s, score, 8, shown)
    return Prediction(**{name: other.get(name, getattr(prediction, name)) for name in Prediction.__struct_fields__})


def both(request_id, time_s=BEGIN_S + 1, scores=(0.1, 0.2), shown=(0, 0), **copy):
    """The champion's answer to a request, and what the canary made of its copy."""
    live = answered(request_id, time_s, "stable", scores[0], shown[0])
    return [live, answered(request_id, time_s, "shadow", scores[1], shown[1], **copy)]


def click(store, *request_ids, after_s=1.0, label=1):
    store.add_outcomes([Outcome(one, label, BEGIN_S + 1 + after_s) for one in request_ids])


def grown_up(store, cursor=FRESH):
    """The labels once all that was answered so far has reached the end of the window."""
    store.now_s = BEGIN_S + 10 + WINDOW_S
    return store.labels_since(ROLLOUT, cursor)


def pairs(arrived):
    return round(sum(arrived.outcomes.paired), 6)


def clicks(arrived):
    return sum(cohort.canary + cohort.stable for cohort in arrived.outcomes.cohorts)


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_a_pair_is_the_difference_of_both_losses_on_the_label_of_the_shown_row(store):
    store.add_predictions([*both("clicked"), *both("not")])
    click(store, "clicked")
    expected = [float(loss(0.2, one, 1.0) - loss(0.1, one, 1.0)) for one in (True, False)]
    assert grown_up(store).outcomes.paired == pytest.approx(spread(expected))
    assert np.dot(grown_up(store).outcomes.paired, POINTS) == pytest.approx(np.log(0.5) + np.log(0.9 / 0.8))


def test_a_slate_makes_a_pair_only_where_both_would_show_the_same_row(store):
    store.add_predictions([*both("same", shown=(3, 3)), *both("other", shown=(3, 4)), *both("cut", rows=7)])
    assert pairs(grown_up(store)) == 1


@pytest.mark.parametrize("clicked", [True, False])
def test_a_label_is_handed_out_at_the_end_of_the_window_clicked_or_not(store, clicked):
    store.add_predictions(both("r1"))
    if clicked:
        click(store, "r1")
    store.now_s = BEGIN_S + 1 + WINDOW_S - 0.1
    young = store.labels_since(ROLLOUT, FRESH)
    assert (pairs(young), young.outcomes.paired) == (0, ())
    assert pairs(grown_up(store, young.cursor)) == 1


def test_a_click_after_the_window_is_none(store):
    store.add_predictions(both("r1"))
    click(store, "r1", after_s=WINDOW_S + 1)
    assert grown_up(store).outcomes.paired == pytest.approx(spread([np.log(0.9 / 0.8)]))


def test_an_outcome_that_says_not_clicked_is_no_click(store):
    store.add_predictions(both("r1"))
    click(store, "r1", label=0)
    assert grown_up(store).outcomes.paired == pytest.approx(spread([np.log(0.9 / 0.8)]))


@pytest.mark.parametrize(
    "predictions",
    [
        [answered("r1")],
        [answered("r1", arm="shadow")],
        [answered("r1", arm="canary"), answered("r1", arm="shadow")],
        [answered("r1", arm="baseline"), answered("r1", arm="shadow")],
        [answered("r1", arm="direct", version="1"), answered("r1", arm="shadow")],
        both("r1", version="3"),
        both("r1", time_s=BEGIN_S - 1),
    ],
    ids=["no copy", "no answer", "the canary's own", "the baseline's", "no router's", "an older canary", "before"],
)
def test_only_the_champions_answers_that_the_canary_scored_in_this_rollout_make_pairs(store, predictions):
    store.add_predictions(predictions)
    assert pairs(grown_up(store)) == 0


# --- clicks ---------------------------------------------------------------------------------------------------------


def fill(store, begin_s, canary, stable):
    """Answers within one second, the first of each arm to be clicked."""
    for arm, n in (("canary", canary), ("stable", stable)):
        store.add_predictions([answered(f"{arm} {begin_s} {i}", begin_s + 1, arm) for i in range(n)])


def test_a_click_counts_with_the_share_of_the_time_at_which_its_request_was_answered(store):
    fill(store, BEGIN_S, canary=1, stable=9)
    fill(store, BEGIN_S + 10, canary=6, stable=4)
    click(store, "canary 1000.0 0", "stable 1000.0 0", "stable 1000.0 1", "canary 1010.0 5", after_s=15)
    assert set(store.labels_since(ROLLOUT, FRESH).outcomes.cohorts) == {Cohort(0.1, 1, 2), Cohort(0.6, 1, 0)}


def weights(time_s):
    """Of the canary, while it is raised from 1 % to 50 % and then promoted."""
    return np.where(time_s < 35, np.minimum(0.01 * 2 ** np.maximum(time_s // 5, 0), 0.5), 0.98)


def market(rng, tolerated_loss, duration_s=45):
    """Requests at 1,000 rps and clicks 2 s later, of a canary that loses just what is tolerated: cohorts by tick."""
    time_s = np.sort(rng.random(rng.poisson(1_000 * duration_s)) * duration_s)
    is_canary = rng.random(time_s.size) < weights(time_s - 0.5)  # a tick does not begin with the clock's second
    is_clicked = rng.random(time_s.size) < 0.03 * np.where(is_canary, 1 - tolerated_loss, 1)
    told = np.floor(time_s + rng.exponential(2, time_s.size) - 0.5)
    answered = np.concatenate(([0], is_canary.cumsum()))
    for tick in range(duration_s):
        clicked = [
            (0, time_s[i], "canary" if is_canary[i] else "stable")
            for i in np.flatnonzero(told == tick)
            if is_clicked[i]
        ]
        cohorts = []
        for begin_s, arms in labels.by_time(clicked).items():
            first, last = np.searchsorted(time_s, [begin_s, min(begin_s + labels.COHORT_S, tick + 1.5)])
            share = (answered[last] - answered[first]) / (last - first)
            if 0 < share < 1:
                cohorts.append(Cohort(share, arms.count("canary"), arms.count("stable")))
        yield cohorts


def test_weights_that_move_make_no_evidence_of_what_the_canary_earns():
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        evidence = Clicks()
        for cohorts in market(rng, tolerated_loss=0.05):
            evidence = evidence.after(cohorts, tolerated_loss=0.05)
        found.append((evidence.e_value, evidence.cleared))
    noise = np.std(found, axis=0) / len(found) ** 0.5
    assert (np.mean(found, axis=0) <= 1 + 3 * noise).all()


def test_a_time_at_which_one_arm_answered_alone_says_nothing(store):
    fill(store, BEGIN_S, canary=0, stable=9)
    click(store, "stable 1000.0 0")
    arrived = store.labels_since(ROLLOUT, FRESH)
    assert arrived.outcomes.cohorts == ()
    assert arrived.cursor.clicks == 1


def test_other_arms_versions_and_times_are_in_neither_clicks_nor_shares(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    others = [
        answered("baseline", arm="baseline"),
        answered("canary 1000.0 0", arm="shadow"),
        answered("older", version="7"),
        answered("before", BEGIN_S - 1),
    ]
    store.add_predictions(others)
    click(store, "baseline", "older", "before", "canary 1000.0 0")
    assert store.labels_since(ROLLOUT, FRESH).outcomes.cohorts == (Cohort(0.5, 1, 0),)


def test_an_outcome_that_is_late_or_says_not_clicked_is_no_click(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    click(store, "canary 1000.0 0", after_s=WINDOW_S + 1)
    click(store, "stable 1000.0 0", label=0)
    assert clicks(store.labels_since(ROLLOUT, FRESH)) == 0


def test_a_click_that_came_before_its_prediction_is_handed_out_when_that_comes(store):
    click(store, "canary 1000.0 0")
    first = store.labels_since(ROLLOUT, FRESH)
    fill(store, BEGIN_S, canary=1, stable=1)
    assert (clicks(first), clicks(store.labels_since(ROLLOUT, first.cursor))) == (0, 1)


# --- once -----------------------------------------------------------------------------------------------------------


class Collecting:
    """A store that is closed and opened again, under live traffic in both arms and a mirror."""

    def __init__(self, place, rng):
        self.place, self.rng, self.now_s, self.answers = place, rng, BEGIN_S, 0
        self.start()

    def start(self):
        self.store = EventStore(self.place, WINDOW_S, lambda: self.now_s)

    def restart(self):
        self.store.__exit__()
        self.start()

    def second(self):
        """Some requests are answered and some outcomes told: a few of them twice, a few before the answer."""
        time_s = self.now_s + 0.5
        for arm in ("stable", "canary", *self.rng.choice(["stable", "canary"], 3).tolist()):
            request_id = f"r{self.answers}"
            self.store.add_predictions([answered(request_id, time_s, arm), answered(request_id, time_s, "shadow")])
            self.answers += 1
        told = self.rng.integers(0, self.answers + 3, 2)
        self.store.add_outcomes([Outcome(f"r{one}", 1, time_s) for one in told])
        self.now_s += 1

    def count(self, query):
        return sql(self.store, query)[0][0]


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_handed_out_once_whoever_is_started_again_in_between(place, seed):
    rng, cursor, seen = np.random.default_rng(seed), FRESH, np.zeros(2)
    collecting = Collecting(place, rng)
    for second in range(110):
        if second < 45:
            collecting.second()
        else:
            collecting.now_s += 1
        if rng.random() < 0.2:
            collecting.restart()
        arrived = collecting.store.labels_since(ROLLOUT, cursor)
        if rng.random() < 0.5 or second > 105:  # else the tick was cut off before it was saved
            seen += pairs(arrived), clicks(arrived)
            cursor = arrived.cursor
    assert seen[0] == collecting.count("SELECT count(*) FROM predictions WHERE arm = 'stable'")
    assert seen[1] == collecting.count("SELECT count(*) FROM outcomes WHERE result = 'joined'") > 50
    collecting.store.__exit__()


def test_the_same_cursor_gives_the_same_labels_again(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    store.add_predictions([answered("stable 1000.0 0", BEGIN_S + 1, "shadow")])
    click(store, "canary 1000.0 0")
    again = [grown_up(store), grown_up(store)]
    assert again[0] == again[1]
    assert (pairs(again[0]), clicks(again[0])) == (1, 1)
    after = grown_up(store, again[0].cursor)
    assert (pairs(after), clicks(after), after.cursor) == (0, 0, again[0].cursor)


def test_a_clock_that_is_set_back_hands_nothing_out_again(store):
    store.add_predictions(both("r1"))
    cursor = grown_up(store).cursor
    store.now_s = BEGIN_S + 5
    earlier = store.labels_since(ROLLOUT, cursor)
    assert (pairs(earlier), earlier.cursor) == (0, cursor)


def test_who_was_away_for_long_catches_up_in_steps(store, monkeypatch):
    monkeypatch.setattr(labels, "MOST_CLICKS", 4)
    for i in range(10):
        fill(store, BEGIN_S + 10 * i, canary=1, stable=1)
        store.add_predictions([answered(f"stable {BEGIN_S + 10 * i} 0", BEGIN_S + 10 * i + 1, "shadow")])
    store.add_outcomes([Outcome(f"canary {BEGIN_S + 10 * i} 0", 1, BEGIN_S + 10 * i + 2) for i in range(10)])
    store.now_s = BEGIN_S + 100 + WINDOW_S
    cursor, steps = FRESH, []
    for _ in range(4):
        arrived = store.labels_since(ROLLOUT, cursor)
        cursor = arrived.cursor
        steps.append((pairs(arrived), clicks(arrived)))
    assert steps == [(3, 4), (3, 4), (3, 2), (1, 0)]


def test_numbers_of_forgotten_clicks_do_not_come_again(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    click(store, "canary 1000.0 0")
    cursor = store.labels_since(ROLLOUT, FRESH).cursor
    later_s = store.now_s = BEGIN_S + 2 * WINDOW_S + 61
    fill(store, later_s, canary=1, stable=1)
    while store.tidy():
        pass
    assert sql(store, "SELECT count(*) FROM clicks") == [(0,)]
    store.add_outcomes([Outcome(f"canary {later_s} 0", 1, later_s + 2)])
    assert clicks(store.labels_since(ROLLOUT, cursor)) == 1


def test_the_cursor_of_a_store_that_was_moved_away_does_not_hide_the_clicks_of_the_next_one(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    click(store, "canary 1000.0 0")
    assert clicks(store.labels_since(ROLLOUT, Cursor(clicks=500))) == 1


def test_each_rollout_has_its_own_labels(store):
    fill(store, BEGIN_S, canary=1, stable=1)
    click(store, "canary 1000.0 0")
    assert clicks(store.labels_since(replace(ROLLOUT, canary="3"), FRESH)) == 0
    assert clicks(store.labels_since(ROLLOUT, FRESH)) == 1
