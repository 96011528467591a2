# ruff: noqa: PD011 - a Matrix is no pandas object
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from perch.errors import ModelError
from perch.workload.features import FeatureSettings, Transform
from perch.workload.model import Scorer, estimator, kinds
from perch.workload.package import (
    check_package,
    ensure_package,
    load_package,
    package_digest,
    read_manifest,
    write_package,
)
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("x",), categorical=("c",), baseline=("c",))
REQUEST = {"x": [0.1, None, 2.0], "c": ["k1", "new", None]}


def make_scorer(kind, *, keep_rate=0.5, seed=1):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=4_000), "c": rng.integers(0, 9, 4_000).astype(str)})
    frame["c"] = "k" + frame["c"]
    clicked = rng.random(4_000) < 0.1 + 0.2 * (frame["c"] == "k1").to_numpy()
    columns = estimator(kind).columns(SCHEMA)
    transform = Transform.fit(frame[:2_000], clicked[:2_000], columns, FeatureSettings(bits=8))
    values = transform.transform_frame(frame[2_000:]).values
    model = estimator(kind).fit(values, clicked[2_000:], names=transform.names, seed=seed)
    return Scorer(SCHEMA, transform, model, keep_rate)


@pytest.fixture(params=kinds())
def scorer(request):
    return make_scorer(request.param)


@pytest.fixture
def package(scorer, tmp_path):
    write_package(tmp_path / "package", scorer, score_histogram=(1, 2))
    return tmp_path / "package"


def test_a_loaded_package_scores_as_the_model_that_was_written(scorer, package):
    loaded = load_package(package, package_digest(package))
    assert loaded.score(REQUEST).tobytes() == scorer.score(REQUEST).tobytes()
    assert loaded.schema == SCHEMA
    assert loaded.estimator.kind == scorer.estimator.kind


def test_scores_are_probabilities_one_a_row(scorer):
    scores = scorer.score(REQUEST)
    assert scores.shape == (3,)
    assert scores.dtype == np.float64
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize("kind", kinds())
def test_training_twice_gives_the_same_digest(kind, tmp_path):
    digests = {write_package(tmp_path / str(i), make_scorer(kind), score_histogram=(1,)) for i in range(2)}
    assert len(digests) == 1


def test_another_seed_gives_another_digest(tmp_path):
    digests = {write_package(tmp_path / str(i), make_scorer("lightgbm", seed=i), score_histogram=()) for i in range(2)}
    assert len(digests) == 2


def test_a_saved_regression_does_not_depend_on_the_process_that_wrote_it(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_package import make_scorer; from perch.workload.package import *\n"
        "junk = [object() for _ in range(10_000)]\n"
        "print(write_package(Path(sys.argv[1]), make_scorer('logistic'), score_histogram=()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other"), __file__.rpartition("/")[0]]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert there == write_package(tmp_path / "here", make_scorer("logistic"), score_histogram=())


def test_down_sampling_is_divided_out_of_the_odds():
    kept_all, kept_some = make_scorer("logistic", keep_rate=1.0), make_scorer("logistic", keep_rate=0.25)
    q, p = kept_all.score(REQUEST), kept_some.score(REQUEST)
    np.testing.assert_allclose(p / (1 - p), 0.25 * q / (1 - q))


@pytest.mark.parametrize("victim", ["features.npz", "model"])
def test_a_flipped_bit_is_found_before_the_file_is_parsed(package, scorer, victim, monkeypatch):
    path = package / (scorer.estimator.file if victim == "model" else victim)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    monkeypatch.setattr(type(scorer.estimator), "from_bytes", lambda content: pytest.fail("parsed unchecked bytes"))
    with pytest.raises(ModelError, match=rf"{path.name} is corrupt.*fetch the version"):
        load_package(package)
    with pytest.raises(ModelError, match="corrupt"):
        check_package(package)


def test_another_version_than_the_one_asked_for_is_refused(package):
    with pytest.raises(ModelError, match="was asked for"):
        load_package(package, "0" * 64)


@pytest.mark.parametrize("name", ["manifest.json", "features.npz"])
def test_a_missing_file_is_named(package, name):
    (package / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load_package(package)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.pop("schema"), "malformed at schema"),
        (lambda m: m.update(keep_rate="often"), "malformed at keep_rate"),
        (lambda m: m.update(format=99), "format 99"),
        (lambda m: m.update(kind="oracle"), "no kind of model 'oracle'"),
        (lambda m: m["files"].clear(), "does not list"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused_with_its_reason(package, change, complaint):
    manifest = json.loads((package / "manifest.json").read_text())
    change(manifest)
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=complaint):
        load_package(package)


def test_a_manifest_that_is_no_json_is_refused(package):
    (package / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="malformed"):
        read_manifest(package)


@pytest.mark.parametrize("kind", kinds())
def test_bytes_that_are_no_model_are_refused(kind):
    with pytest.raises(ModelError, match="register it again"):
        estimator(kind).from_bytes(b"not a model")


def test_a_skops_file_with_a_foreign_type_is_refused():
    import skops.io

    with pytest.raises(ModelError, match="register it again"):
        estimator("logistic").from_bytes(skops.io.dumps(subprocess.Popen))


def test_nothing_is_left_when_writing_fails(scorer, tmp_path, monkeypatch):
    write_package(tmp_path / "package", scorer, score_histogram=(1,))
    before = package_digest(tmp_path / "package")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda self, content: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_package(tmp_path / "package", scorer, score_histogram=(2,))
    assert package_digest(tmp_path / "package") == before
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_writers_of_one_folder_pass_each_other_and_the_last_one_stays(tmp_path):
    scorers = [make_scorer("logistic", keep_rate=rate) for rate in (0.25, 0.5)]

    def write(scorer):
        return {write_package(tmp_path / "package", scorer, score_histogram=()) for _ in range(60)}

    with ThreadPoolExecutor(4) as pool:
        digests = set().union(*pool.map(write, scorers * 2))
    assert len(digests) == 2
    assert package_digest(tmp_path / "package") in digests
    check_package(tmp_path / "package")
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_a_reader_finds_a_package_whole_while_others_ensure_it(package, tmp_path):
    files, digest = {path.name: path.read_bytes() for path in package.iterdir()}, package_digest(package)

    def fill(draft):
        for name, content in files.items():
            (draft / name).write_bytes(content)

    def fetch_and_read(_):
        check_package(ensure_package(tmp_path / "models" / "v1", digest, fill), digest)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(fetch_and_read, range(400)))) == 400


def test_serving_imports_nothing_of_training():
    code = (
        "import sys, perch.workload.package, perch.workload.model, perch.workload.features\n"
        "print(sorted({'pandas', 'mlflow', 'pandera', 'sklearn', 'lightgbm', 'skops', 'pyarrow'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
