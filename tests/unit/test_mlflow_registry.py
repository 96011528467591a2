import os
import socket
import time

import pytest

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import Role
from perch.errors import ModelError, RegistryError
from perch.workload.features import FeatureColumns, FeatureSettings
from perch.workload.package import write_package

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    import numpy as np
    import pandas as pd

    from perch.workload.features import Transform
    from perch.workload.model import Scorer, estimator
    from perch.workload.schema import Schema

    frame, clicked = pd.DataFrame({"c": ["a", "b"] * 50}), np.arange(100) % 3 == 0
    transform = Transform.fit(frame, clicked, FeatureColumns(categorical=("c",)), FeatureSettings(bits=4))
    fitted = estimator("logistic").fit(np.ones((100, 2)) * clicked[:, None], clicked, names=["a", "b"], seed=0)
    folder = tmp_path_factory.mktemp("package") / "package"
    write_package(folder, Scorer(Schema((), ("c",), ("c",)), transform, fitted, 1.0), score_histogram=(1,))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def registry(store):
    return MlflowRegistry(f"sqlite:///{store}/mlflow.db", artifacts=store / "artifacts")


@pytest.mark.parametrize("step", ["log_artifacts", "create_model_version", "set_terminated", "set_model_version_tag"])
def test_a_registration_that_fails_half_way_leaves_no_version_and_no_run(registry, package, monkeypatch, step):
    model = f"broken-{step.replace('_', '-')}"

    def refuse(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, step, refuse)
        with pytest.raises(RegistryError, match=f"cannot register a version of {model}.*disk full"):
            registry.register(model, package, metrics={}, tags={})
    assert registry.versions(model) == []
    assert registry._client.search_model_versions(f"name = '{model}'") == []
    experiment = registry._client.get_experiment_by_name(model)
    assert list(registry._client.search_runs([experiment.experiment_id])) == []


def test_a_version_that_a_killed_process_left_half_made_is_not_listed(registry, package):
    registry.register("killed", package, metrics={}, tags={})
    registry._client.delete_model_version_tag("killed", "1", "perch.complete")
    assert registry.versions("killed") == []
    with pytest.raises(RegistryError, match="no version 1"):
        registry.assign("killed", Role.CHAMPION, 1)


def test_another_process_finds_what_was_registered(registry, package, store):
    registry.register("shared", package, metrics={"auc": 0.7}, tags={"a": "b"})
    registry.assign("shared", Role.BASELINE, 1)
    again = MlflowRegistry(f"sqlite:///{store}/mlflow.db", artifacts=store / "artifacts")
    assert again.versions("shared") == registry.versions("shared")


def test_a_package_changed_in_the_store_is_not_handed_out(registry, package, store, tmp_path):
    registry.register("tampered", package, metrics={}, tags={})
    (stored,) = (store / "artifacts" / "tampered").rglob("features.npz")
    stored.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"features\.npz is corrupt"):
        registry.fetch("tampered", 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_a_signature(registry, package, store):
    registry.register("signed", package, metrics={}, tags={})
    (page,) = (store / "artifacts" / "signed").rglob("MLmodel")
    from mlflow.models import Model

    signature = Model.load(str(page.parent)).signature
    assert [column.name for column in signature.inputs] == ["c"]


@pytest.mark.parametrize("uri", ["sqlite:///{file}/mlflow.db", "fax://5"])
def test_a_store_that_cannot_be_opened_is_one_sentence(uri, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="cannot connect: the MLflow registry at"):
        MlflowRegistry(uri.format(file=tmp_path / "file"))


def test_a_server_that_is_gone_is_told_by_the_first_call():
    registry = MlflowRegistry("http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="cannot list the versions of ads: the MLflow registry at http"):
        registry.versions("ads")


@pytest.fixture
def silent_server():
    """Takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_is_silent_is_given_up_within_seconds(silent_server, monkeypatch):
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 5
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began_s = time.monotonic()
    with pytest.raises(RegistryError, match=r"cannot make silent version 1 the champion: .*check that it runs"):
        MlflowRegistry(silent_server).assign("silent", Role.CHAMPION, 1)
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("travels", ["register", "fetch"])
def test_a_server_may_be_silent_for_longer_while_a_package_travels(registry, package, monkeypatch, tmp_path, travels):
    registry.register("travelling", package, metrics={}, tags={})
    before, seen = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], []
    step = "log_artifacts" if travels == "register" else "download_artifacts"
    original = getattr(registry._client, step)

    def looked(*arguments):
        seen.append(int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]))
        return original(*arguments)

    monkeypatch.setattr(registry._client, step, looked)
    if travels == "register":
        registry.register("travelling", package, metrics={}, tags={})
    else:
        registry.fetch("travelling", 1, tmp_path)
    assert seen == [120]
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == before
