"""A watch over the inputs of a service, from pages of counts to sentences, alerts and what is remembered."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from perch.adapters.metrics.memory import MemorySource
from perch.core.inputs import findings
from perch.core.recalibration import Change
from perch.drift.remembered import drift_file
from perch.drift.watch import DriftWatch
from perch.serving.meters import Meters
from perch.serving.question import Identity
from perch.serving.sketches import InputCounts, InputsPage
from perch.signals import names
from perch.signals.inputs import against_champion, against_training, parse_inputs
from perch.workload.schema import CLICK_LOG
from profiled import small_market

NOW_S = 1_800_000_000.0


BREAKS = {
    "constant": lambda drawn: np.eye(len(drawn), dtype=int)[0] * drawn.sum(),
    "moved": lambda drawn: np.concatenate([drawn[:4][::-1], drawn[4:]]),
}


class Pod:
    """A serving process whose requests are drawn from what training saw, but for columns that are broken."""

    def __init__(self, version, arm="stable"):
        _, _, self.profile = small_market()
        self.version, self.arm, self.rng = version, arm, np.random.default_rng(version)
        self.counts = InputCounts(self.profile)

    def serve(self, requests, broken=()):
        start = 0
        for sketch in (*self.profile.columns, *self.profile.pairs):
            rows = np.array(sketch.rows)
            drawn = self.rng.multinomial(requests, rows / rows.sum())
            if broken and getattr(sketch, "name", None) == broken[0]:
                drawn = BREAKS[broken[1]](drawn)
            for cell, count in enumerate(drawn.tolist(), start):
                self.counts.cells[cell] += count
            start += len(rows)
        rows = np.array(self.profile.score.rows)
        drawn = self.rng.multinomial(requests, rows / rows.sum()).tolist()
        self.counts.scores = [have + more for have, more in zip(self.counts.scores, drawn, strict=True)]

    def attribute(self, rows, more=()):
        """Rows to which each input adds what it did in training, or so much more."""
        for _ in range(rows):
            parts = [self.rng.normal(one.mean, (one.square - one.mean**2) ** 0.5) for one in self.profile.attributions]
            names = [one.name for one in self.profile.attributions]
            self.counts.attributions.add([p + dict(more).get(n, 0.0) for n, p in zip(names, parts, strict=True)])

    @property
    def page(self):
        page = InputsPage(self.profile, Identity("ads", str(self.version)))
        return parse_inputs(page.render({self.arm: self.counts}).decode())


class Served:
    champion = 3


class Site:
    def __init__(self, folder, outcomes=lambda: None):
        self.folder, self.outcomes, self.now_s = folder, outcomes, NOW_S
        self.source, self.served = MemorySource(), Served()
        self.pods = {"3": Pod(3)}
        self.said, self.heard, self.told = [], [], []
        self.watch = self.open()

    def open(self):
        async def hear(alerts):
            self.heard += alerts

        watch = DriftWatch(
            self.served,
            self.source,
            drift_file(self.folder / "drift.json"),
            clock=lambda: self.now_s,
            notify=self.said.append,
            hear=hear,
            outcomes=self.outcomes,
            tell=self.told.append,
        )
        self.watch = watch
        return watch

    def windows(self, count, requests=3_000, broken=()):
        self.minutes(5 * count, requests // 5, broken)

    def minutes(self, count, requests, broken=()):
        async def run():
            await self.watch.open()
            for _ in range(count):
                self.now_s += 60
                for pod in self.pods.values():
                    pod.serve(requests, broken)
                self.source.asked = {name: pod.page for name, pod in self.pods.items()}
                await self.watch.look()

        asyncio.run(run())


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    made.minutes(1, requests=0)  # the first look only says where to count from
    return made


def test_a_service_whose_inputs_stay_is_calm(site):
    site.windows(6)
    assert site.watch.remembered.sentence == "Inputs, scores and what follows from them are as they were."
    assert not site.said
    assert not site.heard


def test_a_constant_input_is_named_within_two_windows_and_asks_for_no_training(site):
    site.windows(3)
    site.windows(2, broken=("site", "constant"))
    (finding,) = findings(site.watch.remembered.state)
    assert finding.features == ("site",)
    assert "site is constant" in site.watch.remembered.sentence
    (said,) = site.said
    assert said.startswith("An input drifts. site is constant")
    assert not site.heard


def test_one_window_beyond_the_limit_is_told_and_a_second_one_decides(site):
    site.windows(3)
    site.windows(1, broken=("site", "constant"))
    sentence = site.watch.remembered.sentence
    assert sentence.startswith("Beyond the limit in one window: site")
    assert sentence.endswith("A second one in a row decides whether it drifts.")
    assert not site.said
    site.windows(1)
    assert site.watch.remembered.sentence == "Inputs, scores and what follows from them are as they were."


def test_an_input_that_moved_asks_for_a_training_until_it_is_back(site):
    site.windows(2, broken=("device", "moved"))
    (alert,) = site.heard
    assert alert.firing
    assert "device has moved" in alert.sentence
    site.windows(2)
    assert site.heard[-1] == replace(alert, sentence=site.heard[-1].sentence, firing=False)
    assert site.said[-1] == "device no longer drifts."


def test_an_input_that_adds_more_than_in_training_is_named_until_it_adds_as_much_again(site):
    def windows(count, more=()):
        for pod in site.pods.values():
            for _ in range(count):
                pod.attribute(1_000, more)
                site.windows(1)

    windows(2, {"price": 0.5})
    (finding,) = findings(site.watch.remembered.state)
    assert finding.sentence.startswith("price adds +0.")
    assert (
        "What inputs add to the scores moved, and no input by itself did. price adds" in site.watch.remembered.sentence
    )
    assert site.said == [f"What an input adds to the scores drifts. {finding.sentence}"]
    windows(2)
    assert site.said[-1] == "What price adds no longer drifts."
    assert not site.heard, "it asks for no training"


def test_a_process_that_restarts_does_not_take_back_what_was_added(site):
    site.pods["3"].attribute(500)
    site.windows(1)
    site.pods["3"] = Pod(3)
    site.pods["3"].attribute(400)
    site.windows(1)
    assert {reading.rows for reading in site.watch.remembered.state.attributions.values()} == {400}
    assert not findings(site.watch.remembered.state)


def test_what_was_found_survives_a_restart(site):
    site.windows(2, broken=("site", "constant"))
    state = site.watch.remembered
    again = site.open()
    asyncio.run(again.open())
    assert again.remembered == state
    assert site.told[-1] == state.state


def test_a_record_that_cannot_be_read_is_told_and_looked_at_anew(site):
    (site.folder / "drift.json").write_text("{", encoding="utf-8")
    again = site.open()
    asyncio.run(again.open())
    assert "does not say which inputs drift" in site.said[-1]
    assert again.remembered.state.looked_s is None


def test_too_few_requests_make_no_window(site):
    site.windows(3, requests=50)
    assert site.watch.remembered.state.looked_s is None
    site.windows(1, requests=50)
    assert site.watch.remembered.state.looked_s is not None


def test_a_process_that_restarts_or_joins_is_counted_and_one_that_tells_nothing_is_left_out(site):
    site.windows(2)
    site.pods["3"] = Pod(3)
    site.pods["3/b"] = Pod(3)
    site.windows(2)
    assert not findings(site.watch.remembered.state)
    site.source.asked = {"3": None}
    asyncio.run(site.watch.look())
    assert not site.said


def test_a_canary_is_compared_with_the_champion_and_never_with_its_training(site):
    site.pods["4"] = Pod(4, "canary")
    site.windows(2)
    readings = site.watch.remembered.state.readings.values()
    assert {reading.against for reading in readings} == {"training", "champion"}
    assert site.watch.remembered.state.canary == 4
    assert not findings(site.watch.remembered.state)


def test_outcomes_that_changed_while_inputs_did_not_are_the_concept(tmp_path):
    site = Site(tmp_path, outcomes=lambda: Change(is_concept=None, sentence="0.7 clicks came, and 1.0 did."))
    site.windows(2)
    said = site.watch.remembered.sentence
    assert said.startswith("The concept drifts, or the labels have shifted: inputs and scores are as they were.")


def test_a_look_that_fails_is_told_and_the_next_one_comes(site):
    async def broken():
        raise OSError("no disk")

    site.source.inputs = broken
    asyncio.run(site.watch.look())
    assert "could not be judged; the next look tries again. no disk" in site.said[-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not the page"),
        ('perch_inputs_trained{model="a",version="1",feature="x",bin="1"} 5', "lacks"),
        ('perch_inputs_trained{model="a",version="1",feature="x",bin="1"} -5', "nobody counts -5"),
        ('perch_inputs_trained{model="a",version="1",feature="x",bin="1"} NaN', "nobody counts NaN"),
    ],
)
def test_a_page_that_is_none_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parse_inputs(text)


def test_a_package_of_an_earlier_perch_has_an_empty_page_and_makes_no_window(site):
    page = parse_inputs(Meters(Identity("ads", "3"), names.grid(25.0), CLICK_LOG).render_inputs().decode())
    assert page.sketches == ()
    site.pods = {}
    site.source.asked = {"3": page}
    for _ in range(20):
        site.now_s += 60
        asyncio.run(site.watch.look())
    assert site.watch.remembered.state.looked_s is None
    assert not site.said


def test_versions_are_compared_in_the_bins_that_both_have():
    def page(*bins):
        head = 'perch_inputs{}{{model="a",version="1",{}feature="x",bin="{}"}} {}'
        lines = [head.format("_trained", "", name, 0) for name, _ in bins]
        lines += [head.format("_total", 'arm="stable",', name, count) for name, count in bins]
        return parse_inputs("\n".join([*lines, 'perch_inputs_natural_psi{model="a",version="1",feature="x"} 0']))

    def compared(champion, canary):
        (one,) = against_champion(*(against_training(p.sketches, p.arms["stable"], None) for p in (champion, canary)))
        return one.bins, one.expected, one.found

    numbers = compared(
        page(("1.0", 1), ("2.0", 2), ("4.0", 4), ("+Inf", 8), ("missing", 16)),
        page(("1.0", 1), ("3.0", 2), ("4.0", 4), ("+Inf", 8), ("missing", 16)),
    )
    assert numbers == (("1.0", "4.0", "+Inf", "missing"), (1, 6, 8, 16), (1, 6, 8, 16))
    categories = compared(
        page(("#1", 1), ("#2", 2), ("level0", 4), ("unseen", 8), ("missing", 16)),
        page(("#2", 1), ("#3", 2), ("level0", 4), ("unseen", 8), ("missing", 16)),
    )
    assert categories == (("#2", "other", "missing"), (2, 13, 16), (1, 14, 16))
