"""What `perch drift` and `perch why` say."""

import json
from dataclasses import replace

import pytest

from perch.cli.drift import drifting, tell_drift
from perch.core.attributions import Attributed, Sample
from perch.core.inputs import Counted, State, Window, judged
from perch.drift.remembered import Remembered
from perch.errors import PlatformError

NOW_S = 1_800_000_000.0
PRICE = Counted("price", "", ("0.0", "2.0", "4.0", "+Inf", "missing"), (0, 500, 480, 0, 20), (0, 0, 0, 0, 1_000))
SITE = replace(PRICE, feature="site", found=PRICE.expected)


class Target:
    def __init__(self, *windows):
        self.state = State()
        for number, counted in enumerate(windows):
            began_s = NOW_S + 300 * number
            self.state = judged(self.state, Window(began_s, began_s + 300, 3, None, counted))

    def drift(self):
        return Remembered(self.state, "Inputs moved.")


def test_what_inputs_add_has_a_table_of_its_own_and_what_drifts_a_sentence(capsys):
    added = Attributed("price", Sample(900, 0.1, 0.2, 0.1), (0.0, 0.0), Sample(900, 0.6, 0.6, 0.5))
    target = Target((SITE,))
    for began_s in (NOW_S, NOW_S + 300):
        target.state = judged(target.state, Window(began_s, began_s + 300, 3, None, (SITE,), (), (added,)))
    tell_drift(target, as_json=False)
    *_, head, price, _, _, since = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["input", "adds", "was", "magnitude", "was", "differs"]
    assert price.split()[:6] == ["price", "+0.600", "+0.100", "0.600", "0.200", "0.500"]
    assert "price adds +0.60 to the log-odds, and added +0.10 in training" in since
    assert drifting(target) == (since,)
    tell_drift(target, as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["attributions"]
    assert told["drifts"]


class Nobody:
    def drift(self):
        raise PlatformError("No platform is running here.")


def test_the_table_has_each_input_and_the_sentence_below(capsys):
    tell_drift(Target((PRICE, SITE), (PRICE, SITE)), as_json=False)
    head, price, site, _, sentence, *since = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["input", "against", "PSI", "limit", "JS"]
    assert price.split()[:2] == ["price", "training"]
    assert price.endswith("100.0%      2.0%  2027-01-15 08:00 UTC")
    assert site.split()[2] == "0.000"
    assert sentence == "Inputs moved."
    assert " ".join(since).startswith("Since 2027-01-15 08:00 UTC: price is missing in 99.8% of the requests")


def test_json_has_all_figures(capsys):
    tell_drift(Target((PRICE, SITE), (PRICE, SITE)), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["champion"], told["drifts"][0]["features"], len(told["readings"])) == (3, ["price"], 2)
    assert told["readings"][0]["psi"] > told["readings"][0]["limit"]


def test_before_the_first_window_it_says_what_one_takes(capsys):
    tell_drift(Target(), as_json=False)
    assert "one takes five minutes, and 200 requests" in capsys.readouterr().out


def test_where_nobody_watches_the_verb_says_so_and_others_say_nothing():
    with pytest.raises(PlatformError):
        tell_drift(Nobody(), as_json=False)
    assert drifting(Nobody()) == ()
    assert drifting(Target((PRICE,))) == ()
    assert "price is missing" in drifting(Target((PRICE,), (PRICE,)))[0]
