"""What `perch freshness` says, and what its backtest leaves."""

from contextlib import contextmanager

import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.cli.freshness import measure_and_tell, tell_freshness
from perch.core.decay import Decay, Matured
from perch.core.drift import Drift
from perch.core.freshness_types import Ended, State
from perch.core.policy import FreshnessPolicy
from perch.errors import RegistryError, UsageError
from perch.freshness.remembered import Remembered
from perch.freshness.watch import LOSS_TAG
from perch.settings import ModelService
from perch.world import Market, MarketSettings
from service_world import register

NOW_S = 1_800_000_000.0
SMALL = MarketSettings(users=1_000, new_users_per_day=20, ads=60, new_ads_per_day=4, advertisers=15, categories=6)


class Target:
    """A service of which everything is known."""

    def __init__(self, folder, state=None, policy=None):
        self.folder, self.store = folder, MemoryRegistry()
        self.state = state or State()
        training = ModelService().spec.training.model_copy(update={"freshness": policy or FreshnessPolicy()})
        spec = ModelService().spec.model_copy(update={"training": training})
        self.declared = ModelService().model_copy(update={"spec": spec})

    def freshness(self):
        return Remembered(self.state, due_s=NOW_S + 3_600)

    def declaration(self):
        return self.declared

    @contextmanager
    def registry(self):
        yield self.store


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr("perch.cli.freshness.time.time", lambda: NOW_S)


def told(capsys, tmp_path, **kwargs):
    tell_freshness(Target(tmp_path, **kwargs))
    lines = capsys.readouterr().out.splitlines()
    return {line[:14].strip(): line[14:] for line in lines}


def test_all_figures_are_told(capsys, tmp_path):
    state = State(
        seen_s=NOW_S,
        version=7,
        fresh_s=NOW_S - 5.2 * 3_600,
        lost_clicks=3.14,
        loss_per_hour=0.0142,
        tokens=3.4,
        ended=Ended("ads-retrain-6", succeeded=True, began_s=NOW_S - 20_000, ended_s=NOW_S - 18_360),
        decay=Decay(bounds=(0.86, 0.98), recent=0.91, seen=Matured(9, 9, 200.0)),
        drift=Drift(psi=0.031),
        sentence="All is calm.",
    )
    assert told(capsys, tmp_path, state=state, policy=FreshnessPolicy(automatic=True)) == {
        "version": "7",
        "age": "5.2 h, which has cost 3.1 clicks",
        "an hour costs": "0.0142 clicks in a thousand impressions, as backtested",
        "a run costs": "10 clicks, as declared",
        "budget": "3.4 of 4 runs a day are left",
        "due by age": "2027-01-15 09:00 UTC",
        "decay": "0.91 clicks come for each that is predicted; 0.86 to 0.98 when it was new",
        "drift": "stability index 0.03",
        "last run": "ads-retrain-6, 5.1 h ago, succeeded",
        "looked at": "0 s ago",
        "next": "All is calm.",
    }


def test_what_is_not_known_is_said_to_be_unknown(capsys, tmp_path):
    lines = told(capsys, tmp_path, state=State(version=3, fresh_s=NOW_S, decay=Decay(seen=Matured(900, 20, 18.0))))
    assert lines["an hour costs"] == (
        "0.01 clicks in a thousand impressions, declared; measure it: perch freshness --backtest"
    )
    assert lines["decay"] == "not known yet: of requests with final labels, 18 clicks were predicted so far"
    assert lines["drift"] == "not known yet"
    assert lines["next"].endswith("(automatic: false)")
    assert "last run" not in lines


def test_a_run_that_did_not_succeed_is_told_with_its_message(capsys, tmp_path):
    ended = Ended("ads-retrain-6", succeeded=False, began_s=NOW_S - 900, ended_s=NOW_S - 600, message="no clicks")
    lines = told(capsys, tmp_path, state=State(version=3, fresh_s=NOW_S, ended=ended))
    assert lines["last run"] == "ads-retrain-6, 10.0 min ago, did not succeed: no clicks"


def test_clicks_that_do_not_come_in_are_told(capsys, tmp_path):
    assert told(capsys, tmp_path, state=State(decay=Decay(is_silent=True)))["decay"] == "not known: no clicks come in"


def test_a_backtest_writes_what_an_hour_costs_to_the_champion(capsys, tmp_path):
    target = Target(tmp_path)
    register(target.store, tmp_path, 1)
    target.store.assign("ad-clicks", Role.CHAMPION, 1)
    log = tmp_path / "log.parquet"
    Market(3, SMALL).log(days=4, impressions=30_000).to_parquet(log)
    measure_and_tell(target, target.declared, str(log), None)
    said = capsys.readouterr().out
    assert "An hour of age costs" in said
    assert float(target.store.get("ad-clicks", 1).tags[LOSS_TAG]) >= 0


def test_a_backtest_needs_a_log(tmp_path):
    with pytest.raises(UsageError, match="Name one with --data"):
        measure_and_tell(Target(tmp_path), ModelService(), None, None)


def test_a_backtest_needs_a_champion(tmp_path):
    with pytest.raises(RegistryError, match="no champion that could age"):
        measure_and_tell(Target(tmp_path), ModelService(), "log.parquet", None)
