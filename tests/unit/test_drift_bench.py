"""The bars of `make bench-drift`, where they can be checked in seconds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.drift import concept, speed
from benchmarks.drift.breaks import BREAKS

from perch.core.diagnosis import Cause

ROOT = Path(__file__).parents[2]


def test_a_comparison_takes_a_part_of_a_second_and_little_memory():
    took = speed.ours(200_000)
    assert took.cpu_s < 0.5
    assert took.mb < 20


def test_figures_equal_evidentlys_in_the_same_bins():
    """In a process of its own: it imports three thousand modules, some of which warn."""
    check = (
        "import numpy as np; from benchmarks.drift import speed;"
        "ours, theirs = speed.ours(20_000), speed.evidently(20_000);"
        "assert np.abs(ours.psi - theirs.psi).max() < 1e-6;"
        "assert np.abs(ours.js - theirs.js).max() < 1e-6;"
        "assert ours.psi.min() > 1e-3"
    )
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", check], cwd=ROOT, env=environment, check=True)


def test_what_moved_first_is_found_in_the_market():
    found = concept.cases(seed=0, rows_a_day=90_000)
    assert found["nothing"] is Cause.NOTHING
    assert found["tastes change"] in {Cause.CONCEPT, Cause.LABELS}
    assert found["prices rise by half"] is found["both"] is Cause.INPUTS


def test_a_break_is_done_to_one_column_only():
    frame, rng = pd.DataFrame({"a": [1.0, 2.0, 2.0], "b": ["x", "y", "z"]}), np.random.default_rng(0)
    assert BREAKS["constant"](frame, "a", rng)["a"].tolist() == [2.0] * 3
    assert BREAKS["times 2"](frame, "a", rng)["a"].tolist() == [2.0, 4.0, 4.0]
    assert sorted(BREAKS["shuffled"](frame, "b", rng)["b"]) == ["x", "y", "z"]
    assert BREAKS["shuffled"](frame, "b", rng)["a"].tolist() == frame["a"].tolist()
