"""Brings a version's package from MLflow: `python -m perch.serving.fetch --registry URL --model NAME ... --into DIR`.

An init container runs this before the server, so that releasing a version builds no image. It speaks MLflow's REST
API by itself, because the serving image has no MLflow.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec

from perch.errors import PlatformError, RegistryError, UsageError, told_in_a_sentence
from perch.workload.model import estimator
from perch.workload.package import FEATURES, MANIFEST, ensure_package, read_manifest

LIMIT_BYTES = 512 * 2**20
"""Largest package that is taken: a pod shares its node's disk."""

LIMIT_S = 120.0
"""Longest time for a whole package, in seconds. The kubelet starts what failed again."""

_SILENCE_S = 10.0
_PROXIED = "mlflow-artifacts:/"


class _Version(msgspec.Struct):
    source: str


class _Found(msgspec.Struct):
    model_version: _Version


_found = msgspec.json.Decoder(_Found)


class Download:
    """Files of one package from an MLflow server, within one limit of bytes and one of time for all of them."""

    def __init__(self, client: httpx.Client, *, limit_bytes: int = LIMIT_BYTES, limit_s: float = LIMIT_S) -> None:
        """Start the clock.

        Args:
            client: Its base URL is the server's.
            limit_bytes: What all files may have together.
            limit_s: What everything may take together, in seconds.
        """
        self._client = client
        self._limit_bytes, self._left_bytes = limit_bytes, limit_bytes
        self._limit_s, self._end_s = limit_s, time.monotonic() + limit_s

    def find(self, model: str, version: int) -> str:
        """The folder of a version's package among the server's artifacts.

        Raises:
            RegistryError: There is no such version, the server does not hand its files out, or does not answer.
        """
        asked = {"name": model, "version": str(version)}
        with self._asking(f"{model} version {version}"):
            response = self._client.get("/api/2.0/mlflow/model-versions/get", params=asked)
            if response.status_code == httpx.codes.NOT_FOUND:
                raise RegistryError(f"{model} has no version {version}: `perch models` lists those there are")
            source = _found.decode(response.raise_for_status().content).model_version.source
        if not source.startswith(_PROXIED):
            raise RegistryError(
                f"the package of {model} version {version} lies at {source}, which the MLflow registry does not hand "
                "out: start it with --serve-artifacts, then register the model again"
            )
        return source.removeprefix(_PROXIED).strip("/")

    def save(self, path: str, file: Path) -> None:
        """Write one of the server's artifacts to a file.

        Raises:
            RegistryError: It is not there, a limit is reached, or the server does not answer.
        """
        url = f"/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
        with self._asking(path), self._client.stream("GET", url) as response, file.open("wb") as out:
            for chunk in response.raise_for_status().iter_bytes():
                self._spend(len(chunk), path)
                out.write(chunk)

    def _spend(self, size_bytes: int, path: str) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise RegistryError(f"cannot fetch {path}: the package has more than {self._limit_bytes:,} bytes")
        if time.monotonic() > self._end_s:
            raise RegistryError(
                f"cannot fetch {path}: the package did not arrive within {self._limit_s:g} s: "
                "see what keeps the MLflow registry busy, then try again"
            )

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            cause = str(error).partition("\n")[0] or type(error).__name__
            raise RegistryError(
                f"cannot fetch {what}: the MLflow registry at {self._client.base_url} answers {cause!r}: "
                "check that it runs and that the address is right, then try again"
            ) from error


def fetch_package(download: Download, model: str, version: int, digest: str, folder: Path) -> None:
    """Make sure that `folder` holds the package of a version. Nobody is asked when it does already.

    Args:
        download: Brings the files.
        model: Name of the model.
        version: Its version.
        digest: sha256 that the package's manifest must have, in hex.
        folder: Where the package belongs.

    Raises:
        RegistryError: The server does not answer, has no such version, or hands out too much or too slowly.
        ModelError: What it hands out is corrupt, or another package; `folder` is as before.
        PlatformError: The folder cannot be written.
    """

    def fill(draft: Path) -> None:
        source = download.find(model, version)
        download.save(f"{source}/{MANIFEST}", draft / MANIFEST)
        kind = read_manifest(draft, digest).kind  # the rest is asked for only when this is the package wanted
        for name in (FEATURES, estimator(kind).file):
            download.save(f"{source}/{name}", draft / name)

    try:
        ensure_package(folder, digest, fill)
    except OSError as error:
        raise PlatformError(
            f"{folder} cannot be written ({error.strerror}): mount a writable volume there with room for the package"
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Fetch what the options name.

    Raises:
        UsageError: The registry's address is none.
        PerchError: As `fetch_package` raises.
    """
    options = _parser().parse_args(arguments)
    try:
        client = httpx.Client(base_url=options.registry, timeout=_SILENCE_S, trust_env=False)
    except httpx.InvalidURL as error:
        raise UsageError(f"{options.registry} is no address ({error}); give --registry http://HOST:PORT.") from None
    with client:
        fetch_package(Download(client), options.model, options.version, options.digest, options.into)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m perch.serving.fetch", description="Fetches the package of one version from MLflow."
    )
    parser.add_argument("--registry", required=True, help="base URL of the MLflow server")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--version", type=int, required=True, help="version of the model")
    parser.add_argument("--digest", required=True, help="sha256 that the package's manifest must have")
    parser.add_argument("--into", type=Path, required=True, help="folder that becomes the package")
    return parser


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
