"""What a Prometheus of this machine is told: where a service stands, and who is to be asked."""

import json

import pytest

from perch.core.freshness_types import State
from perch.core.policy import FreshnessPolicy
from perch.freshness.remembered import Remembered
from perch.local import scraped
from perch.rollout.meters import Meters
from service_world import World, registered


@pytest.fixture
def world(tmp_path):
    registry = registered(tmp_path, 1, 2)
    with World(registry, tmp_path / "service") as world:
        world.tick()
        yield world


@pytest.fixture
def meters():
    return Meters(lambda: True)


def test_a_service_is_told_of_in_the_names_of_a_cluster(world, meters):
    scraped.tell(meters, "ads", world.service, 12.5)
    page = meters.page().decode()
    of = '{name="ads",namespace="local"}'
    assert f"perch_modelservice_ready{of} 1.0" in page
    assert f"perch_modelservice_last_tick_timestamp_seconds{of} 12.5" in page
    assert f"perch_modelservice_canary_weight{of} 0.0" in page
    assert 'perch_modelservice_phase{name="ads",namespace="local",phase="serving"} 1.0' in page


def test_the_age_of_the_model_is_told_where_somebody_watches(meters):
    class Watch:
        remembered = Remembered(State(version=1, fresh_s=1_000.0))

    scraped.tell_age(meters, "ads", None, FreshnessPolicy(), 4_000.0)
    assert "model_age_seconds{" not in meters.page().decode()
    scraped.tell_age(meters, "ads", Watch(), FreshnessPolicy(), 4_000.0)
    assert 'perch_modelservice_model_age_seconds{name="ads",namespace="local"} 3000.0' in meters.page().decode()


def test_prometheus_finds_every_process_in_a_file(tmp_path):
    scraped.write_targets(tmp_path, "ads", {"127.0.0.1:9002", "127.0.0.1:9001"}, 9000)
    processes, control = json.loads((tmp_path / scraped.TARGETS).read_text())
    assert processes["targets"] == ["127.0.0.1:9001", "127.0.0.1:9002"]
    assert processes["labels"] == {"namespace": "local", "perch_dev_service": "ads"}
    assert control == {"targets": ["127.0.0.1:9000"], "labels": {}}
    assert [file.name for file in tmp_path.iterdir()] == [scraped.TARGETS]
