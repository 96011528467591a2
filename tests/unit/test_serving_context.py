"""What the event of an answer tells: the user, the inputs of a sample, the parts of slices; nothing sensitive."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from perch.serving.context import Context, Told
from perch.serving.scoring import Scores
from perch.signals.events import Prediction
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.schema import CLICK_LOG, Schema, Slice

SCHEMA = Schema(
    numeric=("age",),
    categorical=("user_id", "device"),
    baseline=("device",),
    slices=(
        Slice("age", below=1, name="new_user"),
        Slice("device"),
        Slice("group", sensitive=True),
        Slice("user_id", sensitive=True),
    ),
)
COLUMNS = {"age": [0.5, 3.0, None], "user_id": ["u1", "u1", "u1"], "device": ["phone", "tv", None]}


UNCHANGED = Scores([], {}, {})


def told(shown=0, arm="stable", request_id="r1", columns=COLUMNS, scores=UNCHANGED, **options):
    return Context(SCHEMA, **options).of(request_id, arm, columns, scores, shown)


def test_by_default_nobody_is_named_and_no_inputs_are_told():
    assert (told().user, told().features) == (None, None)


def test_the_user_is_what_the_named_input_says():
    assert told(user_column="user_id").user == "u1"
    assert told(user_column="no_such_input").user is None


@pytest.mark.parametrize("user", [None, "", "u" * 129, "u\0"])
def test_what_is_no_id_names_nobody_and_spoils_no_event(user):
    assert told(columns={**COLUMNS, "user_id": [user]}, user_column="user_id").user is None


def test_the_row_that_is_shown_is_told_as_it_was_received():
    assert told(1, features_share=1.0).features == {"age": 3.0, "user_id": "u1", "device": "tv"}
    assert told(2, features_share=1.0).features == {"age": None, "user_id": "u1", "device": None}


def test_a_copy_tells_no_shown_row_for_nobody_saw_one():
    assert told(arm="shadow", features_share=1.0).features is None


def test_the_first_row_is_told_of_every_request_that_is_sampled_and_of_its_copy_but_not_twice():
    first = {"age": 0.5, "user_id": "u1", "device": "phone"}
    assert told(1, features_share=1.0).first == first
    assert told(1, arm="shadow", features_share=1.0).first == first
    assert told(0, arm="shadow", features_share=1.0).first == first
    assert (told(0, features_share=1.0).features, told(0, features_share=1.0).first) == (first, None)
    assert told(1, features_share=0.0).first is None


def test_a_share_of_the_requests_tells_its_inputs_and_all_versions_the_same_ones():
    live, of_canary, copied = (
        [told(1, arm, f"r{i}", features_share=0.1).first is not None for i in range(5_000)]
        for arm in ("stable", "canary", "shadow")
    )
    assert 0.08 < sum(live) / 5_000 < 0.12
    assert live == of_canary == copied


def test_slices_are_told_by_their_names_but_no_sensitive_ones():
    assert told(0).slices == {"new_user": "true", "device": "phone"}
    assert told(1).slices == {"new_user": "false", "device": "tv"}
    assert told(2).slices == {"new_user": "false", "device": ""}
    assert (
        "group" not in Context(CLICK_LOG).of("r", "stable", {n: [None] for n in CLICK_LOG.inputs}, UNCHANGED, 0).slices
    )


@pytest.fixture
def trained():
    """A transform that has seen the user u1, the ad a1 and the site s1 often."""
    log = pd.DataFrame({"user": ["u1"] * 50, "ad": ["a1"] * 50, "site": ["s1"] * 50})
    columns = FeatureColumns(categorical=("user", "ad", "site"))
    return Transform.fit(log, np.arange(50) % 5 == 0, columns, FeatureSettings())


@pytest.mark.parametrize(
    ("shown", "part"), [(0, "none"), (1, "ad"), (2, "user+ad"), (3, "several"), (4, "none"), (5, "site")]
)
def test_what_training_had_not_seen_of_the_shown_row_is_a_slice_of_every_model(trained, shown, part):
    columns = {
        "user": ["u1", "u1", "new", "new", None, "u1"],
        "ad": ["a1", "new", "new", "new", "", "a1"],
        "site": ["s1", "s1", "s1", "new", None, "new"],
    }
    matrix = trained.transform(columns)
    scores = Scores([], matrix.missing, matrix.unseen, features=matrix.values)
    context = Context(Schema((), ("user", "ad", "site"), ("site",)), features=trained.names)
    assert context.of("r", "stable", columns, scores, shown).slices == {"unseen": part}


def test_a_slice_of_that_name_is_the_workloads_and_an_event_has_room_for_twenty(trained):
    matrix = trained.transform({"user": ["u1"], "ad": ["new"], "site": ["s1"]})
    scores = Scores([], {}, matrix.unseen, features=matrix.values)

    def slices(*declared):
        schema = Schema((), ("user", "ad", "site"), ("site",), slices=declared)
        columns = {"user": ["u1"], "ad": ["new"], "site": ["s1"]}
        return Context(schema, features=trained.names).of("r", "stable", columns, scores, 0).slices

    assert slices(Slice("site", name="unseen")) == {"unseen": "s1"}
    assert set(slices(*(Slice("site", name=f"slice{i}") for i in range(20)))) == {f"slice{i}" for i in range(20)}


def test_a_model_without_slices_tells_of_none():
    assert Context(Schema(("age",), (), ())).of("r", "stable", {"age": [1.0]}, UNCHANGED, 0) == Told()


def test_what_was_asked_is_told_where_the_model_was_given_something_else():
    given = Scores([], {}, {}, given={**COLUMNS, "age": [50.0, 300.0, None]})
    skewed = told(1, scores=given, features_share=1.0)
    assert (skewed.features["age"], skewed.asked["age"]) == (300.0, 3.0)
    assert told(1, features_share=1.0).asked is None
    assert told(1, scores=given).asked is None
    assert told(1, "shadow", scores=given, features_share=1.0).asked is None


def test_the_features_of_the_shown_row_are_told_of_a_sample_by_their_names():
    scores = Scores([], {}, {}, features=np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]))
    sampled = {"features": ("age", "device_log_odds"), "features_share": 1.0}
    assert told(2, scores=scores, **sampled).served == {"age": 5.0, "device_log_odds": 6.0}
    assert msgspec.json.encode(told(1, scores=scores, **sampled).served) == b'{"age":3.0,"device_log_odds":null}'
    assert told(1, "shadow", scores=scores, **sampled).served is None
    assert told(1, scores=scores, features=sampled["features"]).served is None


def test_what_is_told_can_always_be_read_again():
    wild = {"age": [1e308], "user_id": ["\0"], "device": ["\0" * 1_000]}
    context = told(columns=wild, user_column="user_id", features_share=1.0)
    event = Prediction("r", "ads", "1", "stable", 1.0, 0.1, 1, 0, context.user, context.features, None, context.slices)
    assert msgspec.json.decode(msgspec.json.encode(event), type=Prediction) == event
    assert b"u0000" not in msgspec.json.encode(event)
