"""A watch over twins of everything that it asks."""

import asyncio

import pytest

from perch.adapters.labels.memory import MemoryLabels
from perch.adapters.metrics.memory import MemorySource
from perch.adapters.training.memory import MemoryTrainings
from perch.core.decay import Matured
from perch.core.freshness_types import Alert
from perch.core.policy import FreshnessPolicy
from perch.core.types import Counts
from perch.errors import PlatformError, RegistryError, RolloutError
from perch.freshness.remembered import freshness_file
from perch.freshness.watch import LOSS_TAG, TRAINED_TAG, Sources, Watch
from perch.settings import ModelService
from perch.signals.names import grid

GRID = grid(100.0)
HOUR_S = 3_600.0
NOW_S = 1_800_000_000.0
RUN = "ads-retrain-270115-080000"
"""As it is named that is decided on then."""
ALERT = Alert("a@1", "clicks fell")


class Version:
    def __init__(self, version, **tags):
        self.version, self.tags = version, tags


class Registry:
    """Says of every version what it was told."""

    def __init__(self):
        self.tags = {TRAINED_TAG: str(NOW_S)}
        self.is_away = False

    def get(self, model, version):
        if self.is_away:
            raise RegistryError("The registry is away.")
        return Version(version, **self.tags)


class Served:
    champion = 3
    rolling = False


class Site:
    def __init__(self, folder, **policy):
        self.now_s, self.told = NOW_S, []
        self.folder = folder
        self.declaration = declared(FreshnessPolicy(**{"automatic": True} | policy))
        self.trainings, self.registry, self.labels = MemoryTrainings(), Registry(), MemoryLabels()
        self.metrics, self.served = MemorySource(), Served()
        self.requests = 0
        self.watch = None

    async def open(self):
        store = freshness_file(self.folder / "freshness.json")
        sources = Sources(self.served, self.trainings, self.registry, self.metrics, store, self.labels)
        self.watch = Watch(self.declaration, sources, lambda: self.now_s, self.told.append)
        await self.watch.open()
        await self.watch.look()
        return self.watch

    async def minutes(self, minutes, requests=0):
        """Time goes by, with so many requests a minute."""
        for _ in range(minutes):
            self.now_s += 60
            self.requests += requests
            zero = Counts.none(GRID)
            latency = (self.requests, *zero.latency[1:])
            scores = (self.requests, *zero.scores[1:])
            counts = Counts(self.requests, 0, latency, scores)
            self.metrics.totals = {"3": {"stable": counts}}
            await self.watch.look()


def declared(policy):
    service = ModelService()
    training = service.spec.training.model_copy(update={"freshness": policy})
    return service.model_copy(update={"spec": service.spec.model_copy(update={"training": training})})


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def site(tmp_path, loop):
    site = Site(tmp_path)
    loop(site.open())
    return site


def test_a_model_ages_from_when_its_data_was_read_and_impressions_cost(site, loop):
    site.now_s = NOW_S + 10 * HOUR_S
    loop(site.minutes(60, requests=1_000))
    state = site.watch.remembered.state
    assert state.fresh_s == NOW_S
    assert state.impressions == 59_000  # the first reading only tells where to count from
    assert state.lost_clicks == pytest.approx(0.01 * 59 * 10.5, rel=0.02)


def test_what_was_backtested_counts_as_the_price_of_an_hour(site, loop):
    site.registry.tags[LOSS_TAG] = "0.5"
    loop(site.minutes(11, requests=10))
    assert site.watch.remembered.state.loss_per_hour == 0.5


def test_a_storm_of_alerts_starts_one_run_whose_reason_is_recorded(site, loop):
    async def storm():
        await asyncio.gather(*(site.watch.hear([Alert(f"a{i}@1", "clicks fell")]) for i in range(50)))

    loop(storm())
    assert list(site.trainings.started) == [RUN]
    assert "An alert fires: clicks fell." in site.trainings.started[RUN]
    assert f"Run {RUN} has been started." in site.told[-1]


def test_resolved_alerts_start_nothing(site, loop):
    loop(site.watch.hear([Alert("a@1", "x", firing=False)]))
    assert not site.trainings.started


def test_an_alert_is_on_disk_when_it_is_acknowledged(site, loop):
    site.served.rolling = True
    loop(site.watch.hear([ALERT]))
    assert not site.trainings.started
    site.served.rolling = False
    loop(site.open())  # another platform
    assert site.trainings.started


def test_an_alert_that_could_not_be_kept_is_refused_and_not_forgotten(site, loop):
    site.trainings.is_away = True
    with pytest.raises(PlatformError):
        loop(site.watch.hear([ALERT]))
    site.trainings.is_away = False
    loop(site.watch.look())
    assert site.trainings.started


def test_a_start_that_failed_is_tried_again_as_the_same_run(site, loop):
    real_start, tries = site.trainings.start, []

    async def fails_once(name, reason):
        tries.append(name)
        if len(tries) == 1:
            raise PlatformError("No workflows here.")
        await real_start(name, reason)

    site.trainings.start = fails_once
    site.watch.wish(override=False)
    loop(site.watch.look())
    assert "No workflows here." in site.told[-1]
    loop(site.open())
    assert tries == [RUN, RUN]
    assert list(site.trainings.started) == [RUN]


def test_a_person_is_told_why_there_is_no_run_now(site, loop):
    site.watch.wish(override=False)
    loop(site.watch.look())
    with pytest.raises(RolloutError, match=f"{RUN} is in progress already"):
        site.watch.wish(override=True)
    site.trainings.end(succeeded=True, began_s=site.now_s, ended_s=site.now_s + 60)
    loop(site.minutes(2))
    with pytest.raises(RolloutError, match=r"cool-down for 118\.0 min more. Insist with --override."):
        site.watch.wish(override=False)
    site.watch.wish(override=True)
    loop(site.watch.look())
    assert list(site.trainings.started) == [RUN, "ads-retrain-270115-080200"]


def test_a_person_waits_for_the_end_of_a_rollout(site):
    site.served.rolling = True
    with pytest.raises(RolloutError, match="A rollout is in progress"):
        site.watch.wish(override=True)


def test_a_registry_that_is_away_stops_nothing(site, loop):
    site.registry.is_away = True
    site.now_s += 700
    loop(site.watch.hear([ALERT]))
    assert site.trainings.started


def test_decay_of_matured_labels_starts_a_run(site, loop):
    async def live():
        for minute in range(1_500):
            clicks = 18 if minute < 400 else 9
            site.labels.final = [(site.now_s, 3, Matured(1_000, clicks, 20.0, 90.0))]
            await site.minutes(1)

    loop(live())
    (reason,) = site.trainings.started.values()
    assert "Version 3 decays" in reason


def test_what_was_seen_survives_a_restart_but_for_some_minutes(site, loop):
    loop(site.minutes(60, requests=1_000))
    before = site.watch.remembered.state
    loop(site.open())
    after = site.watch.remembered.state
    assert after.lost_clicks == pytest.approx(before.lost_clicks, rel=0.3)
    assert after.fresh_s == before.fresh_s


def test_a_file_that_is_not_ours_is_named_and_age_is_counted_anew(site, loop):
    (site.folder / "freshness.json").write_text("{")
    loop(site.open())
    assert "freshness.json does not say how fresh the model is" in site.told[-1]
    assert site.watch.remembered.state.version == 3


def test_a_process_that_restarts_counts_from_zero(site, loop):
    loop(site.minutes(2, requests=100))
    site.requests = 0
    loop(site.minutes(1, requests=30))
    assert site.watch.remembered.state.impressions == 130
