import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perch.errors import ModelError
from perch.workload import estimators
from perch.workload.model import Scorer, estimator, kinds
from perch.workload.package import load_package, write_package
from perch.workload.schema import Schema
from serving_process import tiny_scorer

SCHEMA = Schema(numeric=("price",), categorical=("site", "ad"), baseline=("site",), crosses=(("site", "ad"),))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A second folder in which kinds of model are looked for."""
    monkeypatch.setattr(estimators, "__path__", [*estimators.__path__, str(tmp_path)])
    return tmp_path


def test_every_kind_is_named_after_its_file():
    files = {path.stem for path in Path(estimators.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(kinds()) == files >= {"logistic", "lightgbm", "wide"}
    assert all(estimator(kind).kind == kind for kind in kinds())


def test_the_baseline_reads_few_columns_and_the_trees_read_all():
    assert estimator("logistic").columns(SCHEMA).categorical == ("site",)
    columns = estimator("lightgbm").columns(SCHEMA)
    assert (columns.numeric, columns.categorical, columns.crosses) == (("price",), ("site", "ad"), (("site", "ad"),))


def test_a_further_kind_is_one_file(folder, tmp_path):
    source = Path(estimators.__file__).with_name("lightgbm.py").read_text()
    (folder / "stump_for_test.py").write_text(source.replace('= "lightgbm"', '= "stump_for_test"'))
    known, values = tiny_scorer(), np.random.default_rng(0).random((500, 6))
    fitted = estimator("stump_for_test").fit(values, values[:, 0] > 0.8, names=known.transform.names, seed=0)
    scorer = Scorer(known.schema, known.transform, fitted, keep_rate=1.0)
    digest = write_package(tmp_path / "package", scorer, score_histogram=())
    loaded = load_package(tmp_path / "package", digest)
    assert loaded.estimator.kind == "stump_for_test"
    assert loaded.predict(values).tobytes() == scorer.predict(values).tobytes()


def test_wide_takes_the_mean_for_a_missing_number():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(5, 2, 4_000), rng.normal(size=4_000), np.full(4_000, 3.0)], axis=1)
    clicked = rng.random(4_000) < 1 / (1 + np.exp(2 - (values[:, 0] - 5)))
    values[::10, 1], mean = np.nan, values[:, 0].mean()
    fitted = estimator("wide").fit(values, clicked, names=["a", "b", "c"], seed=0)
    missing, average, high = fitted.predict(np.array([[np.nan, 0, 3], [mean, 0, 3], [9, 0, 3]], np.float64))
    assert missing == pytest.approx(average)
    assert high > 3 * average


def test_wide_learns_the_log_odds_that_made_the_clicks():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200_000, 2)) * [1, 50]
    true = 1 / (1 + np.exp(1 - values @ [0.5, 0.02]))
    fitted = estimator("wide").fit(values, rng.random(200_000) < true, names=["a", "b"], seed=0)
    np.testing.assert_allclose(fitted.predict(values[:1_000]), true[:1_000], atol=0.02)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"\xff",
        b'{"weights": 1, "fill": 1, "intercept": 0}',
        b'{"weights": [1], "fill": [], "intercept": 0}',
        b'{"weights": [NaN], "fill": [0], "intercept": 0}',
    ],
)
def test_weights_that_cannot_score_are_refused(content):
    with pytest.raises(ModelError, match="register it again"):
        estimator("wide").from_bytes(content)


@pytest.mark.parametrize("kind", ["oracle", "os", "..model", "__init__", "logistic.Model", ""])
def test_only_a_file_of_the_folder_is_imported(kind):
    with pytest.raises(ModelError, match=r"there is no kind of model .*: choose one of .*lightgbm.*logistic.*wide"):
        estimator(kind)


def test_a_kind_whose_library_is_not_installed_says_which(folder):
    (folder / "forest_for_test.py").write_text("import library_that_nobody_has\n")
    with pytest.raises(ModelError, match="kind forest_for_test needs library_that_nobody_has, which is not installed"):
        estimator("forest_for_test")


@pytest.mark.parametrize("kind", ["logistic", "lightgbm", "wide"])
def test_a_server_imports_the_kind_that_it_serves_and_no_other(kind):
    code = (
        f"import sys; from perch.workload.model import estimator; estimator({kind!r}); "
        "print([name for name in sys.modules if name.startswith('perch.workload.estimators.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['perch.workload.estimators.{kind}']"
