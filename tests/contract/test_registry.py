"""One set of checks for MLflow and its twin in memory."""

from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import MOST_REPORTS, ModelRegistry, Role, UnknownVersionError
from perch.errors import ModelError, RegistryError
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.model import Scorer, estimator
from perch.workload.package import check_package, load_package, package_digest, write_package
from perch.workload.schema import Schema

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
REQUEST = {"c": ["a", "b"]}
names = (f"model-{i}" for i in count())


@pytest.fixture(scope="module", params=["memory", "mlflow"])
def registry(request, tmp_path_factory) -> ModelRegistry:
    if request.param == "memory":
        return MemoryRegistry()
    from perch.adapters.registry.mlflow import MlflowRegistry

    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts")


@pytest.fixture
def model():
    return next(names)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    frame = pd.DataFrame({"c": ["a", "b"] * 100})
    clicked = np.arange(200) % 3 == 0
    transform = Transform.fit(frame, clicked, FeatureColumns(categorical=("c",)), FeatureSettings(bits=4))
    fitted = estimator("logistic").fit(transform.transform_frame(frame).values, clicked, names=transform.names, seed=0)
    folder = tmp_path_factory.mktemp("package") / "package"
    scorer = Scorer(Schema((), ("c",), ("c",)), transform, fitted, 1.0)
    write_package(folder, scorer, score_histogram=(1,))
    return folder


def test_of_the_reports_about_a_version_the_last_ones_are_kept(registry, model, package):
    version = register(registry, model, package).version
    names = [f"{kind}-{i:02}.html" for i in range(MOST_REPORTS + 2) for kind in ("inputs", "training")]
    for name in names:
        registry.keep_report(model, version, name, f"<p>{name}</p>")
    assert kept(registry, model, version) == {name: f"<p>{name}</p>" for name in names[4:]}
    with pytest.raises(UnknownVersionError):
        registry.keep_report(model, version + 1, "late.html", "")


def kept(registry, model, version):
    if isinstance(registry, MemoryRegistry):
        return registry.reports[model, version]
    folder = Path(registry._client.download_artifacts(registry.get(model, version).run, "reports"))
    return {path.name: path.read_text() for path in folder.iterdir()}


def register(registry, model, package, **tags):
    return registry.register(model, package, metrics={"log_loss": 0.25, "slice/device:phone/rows": 7.0}, tags=tags)


def test_versions_count_up_and_keep_what_they_were_registered_with(registry, model, package):
    first, second = register(registry, model, package, note="one"), register(registry, model, package, note="two")
    assert [version.version for version in registry.versions(model)] == [1, 2]
    assert registry.versions(model) == [first, second]
    assert registry.get(model, 2) == second
    assert second.metrics == {"log_loss": 0.25, "slice/device:phone/rows": 7.0}
    assert second.tags == {"note": "two"}
    assert (second.kind, second.digest) == ("logistic", package_digest(package))
    assert second.roles == frozenset()
    assert second.quarantine is None


def test_models_do_not_see_each_other(registry, model, package):
    other = next(names)
    register(registry, model, package)
    assert register(registry, other, package).version == 1
    registry.assign(other, Role.CHAMPION, 1)
    assert registry.holder(model, Role.CHAMPION) is None


def test_an_unknown_model_has_no_versions_and_no_holder(registry, model):
    assert registry.versions(model) == []
    assert registry.holder(model, Role.BASELINE) is None


def test_a_role_is_held_by_one_version_at_a_time(registry, model, package):
    for _ in range(2):
        register(registry, model, package)
    registry.assign(model, Role.CHAMPION, 1)
    registry.assign(model, Role.BASELINE, 1)
    assert registry.holder(model, Role.CHAMPION).roles == {Role.CHAMPION, Role.BASELINE}
    registry.assign(model, Role.CHAMPION, 2)
    assert registry.holder(model, Role.CHAMPION).version == 2
    assert [version.roles for version in registry.versions(model)] == [{Role.BASELINE}, {Role.CHAMPION}]


def test_a_further_fact_is_written_down_over_what_it_said_before(registry, model, package):
    registry.register(model, package, metrics={}, tags={"seed": "1"})
    for value in ("0.1", "0.2"):
        registry.note(model, 1, "staleness", value)
    assert registry.get(model, 1).tags.items() >= {"seed": "1", "staleness": "0.2"}.items()
    with pytest.raises(UnknownVersionError):
        registry.note(model, 9, "staleness", "1")


def test_quarantine_is_remembered_and_can_be_lifted(registry, model, package):
    register(registry, model, package)
    registry.quarantine(model, 1, "5 % errors: rolled back")
    assert registry.get(model, 1).quarantine == "5 % errors: rolled back"
    registry.quarantine(model, 1, None)
    registry.quarantine(model, 1, None)
    assert registry.get(model, 1).quarantine is None


def test_a_fetched_package_is_the_one_that_was_registered(registry, model, package, tmp_path):
    register(registry, model, package)
    for _ in range(2):
        folder = registry.fetch(model, 1, tmp_path / "models")
    assert folder.parent == tmp_path / "models"
    loaded = load_package(folder, package_digest(package))
    assert loaded.score(REQUEST).tobytes() == load_package(package).score(REQUEST).tobytes()


def test_a_package_that_stands_whole_is_left_to_its_readers(registry, model, package, tmp_path):
    register(registry, model, package)
    stands = registry.fetch(model, 1, tmp_path).stat()
    assert registry.fetch(model, 1, tmp_path).stat() == stands


def test_a_package_that_was_damaged_is_fetched_again(registry, model, package, tmp_path):
    register(registry, model, package)
    folder = registry.fetch(model, 1, tmp_path)
    (folder / "features.npz").write_bytes(b"torn")
    assert check_package(registry.fetch(model, 1, tmp_path), package_digest(package))
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry, model, into: registry.get(model, 7),
        lambda registry, model, into: registry.assign(model, Role.CHAMPION, 7),
        lambda registry, model, into: registry.quarantine(model, 7, "why"),
        lambda registry, model, into: registry.fetch(model, 7, into),
    ],
    ids=["get", "assign", "quarantine", "fetch"],
)
def test_an_unknown_version_is_an_error_that_names_it(registry, package, tmp_path, ask):
    known, unknown = next(names), next(names)
    register(registry, known, package)
    for model in (known, unknown):
        with pytest.raises(RegistryError, match=f"{model} has no version 7"):
            ask(registry, model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_package_is_not_registered(registry, model, package, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in package.iterdir():
        (broken / path.name).write_bytes(path.read_bytes() + (b"x" if path.suffix == ".npz" else b""))
    with pytest.raises(ModelError, match=r"features\.npz is corrupt"):
        register(registry, model, broken)
    assert registry.versions(model) == []


def test_a_role_that_is_withdrawn_is_held_by_nobody(registry, model, package):
    version = register(registry, model, package)
    registry.assign(model, Role.CHALLENGER, version.version)
    registry.withdraw(model, Role.CHALLENGER)
    registry.withdraw(model, Role.CHALLENGER)
    assert registry.holder(model, Role.CHALLENGER) is None
