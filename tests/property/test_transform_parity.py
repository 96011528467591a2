# ruff: noqa: PD011 - a Matrix is no pandas object
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from perch.workload.features import FeatureColumns, FeatureSettings, Transform

COLUMNS = FeatureColumns(numeric=("x",), categorical=("a", "b"), crosses=(("a", "b"),))
texts = st.none() | st.text(max_size=4)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(st.tuples(numbers, texts, texts, st.booleans()), min_size=1, max_size=30)


def as_frame(some):
    frame = pd.DataFrame({"x": [r[0] for r in some], "a": [r[1] for r in some], "b": [r[2] for r in some]})
    return frame.astype({"x": float, "a": object, "b": object})


@settings(max_examples=60, deadline=None)
@given(history=rows, later=rows)
def test_whatever_the_values_training_and_serving_agree_to_the_last_bit(history, later):
    clicked = np.array([row[3] for row in history])
    transform = Transform.fit(as_frame(history), clicked, COLUMNS, FeatureSettings(bits=6))
    trained = transform.transform_frame(as_frame(later))
    served = transform.transform({"x": [r[0] for r in later], "a": [r[1] for r in later], "b": [r[2] for r in later]})
    assert trained.values.tobytes() == served.values.tobytes()
    assert (trained.missing, trained.unseen) == (served.missing, served.unseen)


@settings(max_examples=60, deadline=None)
@given(history=rows, later=rows)
def test_a_row_is_transformed_the_same_alone_and_in_a_batch(history, later):
    clicked = np.array([row[3] for row in history])
    transform = Transform.fit(as_frame(history), clicked, COLUMNS, FeatureSettings(bits=6))
    batch = transform.transform_frame(as_frame(later)).values
    for i, (x, a, b, _) in enumerate(later):
        assert transform.transform({"x": [x], "a": [a], "b": [b]}).values.tobytes() == batch[i].tobytes()
