from pathlib import Path

import httpx
import pytest

from perch.errors import ModelError, PlatformError, RegistryError, UsageError
from perch.serving.fetch import Download, fetch_package, main
from perch.workload.package import check_package
from serving_process import write_tiny_package

FOUND = "/api/2.0/mlflow/model-versions/get"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/package/"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "tiny"
    return folder, write_tiny_package(folder)


@pytest.fixture
def registry(package):
    return Registry(package[0])


class Registry:
    """Answers as MLflow does, from a folder, and remembers what it was asked."""

    def __init__(self, folder: Path):
        self.source = "mlflow-artifacts:/1/run/artifacts/package"
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.answers = {}
        self.asked = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == FOUND:
            assert dict(request.url.params) == {"name": "ads", "version": "3"}
            return httpx.Response(200, json={"model_version": {"name": "ads", "source": self.source}})
        content = self.files.get(path.removeprefix(ARTIFACTS))
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)


def fetch(registry, digest, folder, **limits):
    client = httpx.Client(transport=httpx.MockTransport(registry), base_url="http://mlflow:5000")
    with client:
        fetch_package(Download(client, **limits), "ads", 3, digest, folder)


def test_a_package_is_whole_and_another_attempt_asks_nobody(registry, package, tmp_path):
    fetch(registry, package[1], tmp_path / "package")
    assert check_package(tmp_path / "package", package[1]) == check_package(*package)
    asked = len(registry.asked)
    fetch(registry, package[1], tmp_path / "package")
    assert len(registry.asked) == asked
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_another_package_is_refused_before_its_model_is_downloaded(registry, tmp_path):
    with pytest.raises(ModelError, match="but 000000000000 was asked for"):
        fetch(registry, "0" * 64, tmp_path / "package")
    assert registry.asked == [FOUND, ARTIFACTS + "manifest.json"]
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_file_never_appears(registry, package, tmp_path):
    registry.files["features.npz"] = registry.files["features.npz"][:-1] + b"!"
    with pytest.raises(ModelError, match=r"features\.npz is corrupt"):
        fetch(registry, package[1], tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_package_that_stands_there_is_replaced(registry, package, tmp_path):
    fetch(registry, package[1], tmp_path / "package")
    (tmp_path / "package" / "features.npz").write_bytes(b"cut")
    fetch(registry, package[1], tmp_path / "package")
    check_package(tmp_path / "package", package[1])


@pytest.mark.parametrize(
    ("path", "answer", "sentence"),
    [
        (FOUND, httpx.Response(404), "ads has no version 3: `perch models` lists"),
        (FOUND, httpx.Response(403), "answers \"Client error '403 Forbidden'.*check that it runs"),
        (FOUND, httpx.Response(200, content=b"<html>"), "answers 'JSON is malformed"),
        (FOUND, httpx.Response(302, headers={"location": "http://elsewhere/"}), "Redirect response '302 Found'"),
        (ARTIFACTS + "features.npz", httpx.Response(500), "cannot fetch 1/run/artifacts/package/features.npz: .*500"),
    ],
)
def test_what_the_registry_refuses_is_one_sentence(package, tmp_path, path, answer, sentence):
    registry = Registry(package[0])
    registry.answers[path] = answer
    with pytest.raises(RegistryError, match=sentence) as raised:
        fetch(registry, package[1], tmp_path / "package")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_package_outside_the_servers_artifacts_is_refused(registry, package, tmp_path):
    registry.source = "file:///srv/artifacts/package"
    with pytest.raises(RegistryError, match=r"lies at file:///srv/artifacts/package.*--serve-artifacts"):
        fetch(registry, package[1], tmp_path / "package")


def test_all_files_together_keep_within_the_limit_of_bytes(registry, package, tmp_path):
    size = sum(path.stat().st_size for path in package[0].iterdir())
    with pytest.raises(RegistryError, match=f"more than {size - 1:,} bytes"):
        fetch(registry, package[1], tmp_path / "package", limit_bytes=size - 1)
    assert list(tmp_path.iterdir()) == []
    fetch(registry, package[1], tmp_path / "package", limit_bytes=size)


def test_a_trickle_is_cut_off(registry, package, tmp_path):
    with pytest.raises(RegistryError, match="did not arrive within 0 s"):
        fetch(registry, package[1], tmp_path / "package", limit_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(registry, package, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match="cannot be written"):
        fetch(registry, package[1], tmp_path / "file" / "package")


@pytest.mark.parametrize(
    ("url", "problem", "sentence"),
    [
        ("http://127.0.0.1:9", RegistryError, "Connection refused.*: check that it runs and that the address is right"),
        ("mlflow:5000", RegistryError, "check that it runs and that the address is right"),
        ("http://mlflow:port", UsageError, "http://mlflow:port is no address .*give --registry http://HOST:PORT"),
    ],
)
def test_a_wrong_address_is_one_sentence(url, problem, sentence, tmp_path):
    options = {"registry": url, "model": "ads", "version": 3, "digest": "0" * 64, "into": tmp_path / "package"}
    with pytest.raises(problem, match=sentence):
        main([part for name, value in options.items() for part in (f"--{name}", str(value))])
