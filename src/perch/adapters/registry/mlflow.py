"""MLflow as the model registry: runs hold packages and metrics, aliases are roles, version tags hold the rest.

`MlflowClient` is called directly. `log_model` would infer the requirements of each model in a process of its own,
which takes a quarter of a minute, and would store the model a second time, in MLflow's layout.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import yaml

from perch.adapters.registry.port import MOST_REPORTS, ModelVersion, Role, UnknownVersionError
from perch.errors import RegistryError
from perch.workload.package import Manifest, check_package, ensure_package, package_digest, read_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a package is fetched in a second
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the default of 7 keeps a person waiting for minutes

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
"""Variable with the seconds for which a server may be silent; MLflow reads it before each request."""

os.environ.setdefault(_TIMEOUT, "5")  # the default of 120 makes six minutes of three tries

_PACKAGE_TIMEOUT_S = 120
"""The same while a package travels: a server may store it elsewhere, or get it from there, before it answers."""

_TRAVELLING = Lock()  # one at a time, for the variable is the whole process'

_COMPLETE, _DIGEST, _KIND, _QUARANTINE = "perch.complete", "perch.digest", "perch.kind", "perch.quarantine"
_HISTOGRAM = "perch.score_histogram"
_PACKAGE, _REPORTS = "package", "reports"
_SQLITE = "sqlite:///"


class MlflowRegistry:
    """Versions of models in MLflow. See `ModelRegistry` for what its methods promise."""

    def __init__(self, uri: str, *, artifacts: Path | None = None) -> None:
        """Connect to a store or a server.

        Args:
            uri: `sqlite:///FILE`, which is created when it does not exist, or the server's `http://HOST:PORT`.
            artifacts: Folder for the packages; `None` leaves that to the server.

        Raises:
            RegistryError: The store cannot be opened. Of a server that is told by the first call.
        """
        self._uri, self._artifacts = uri, artifacts
        self._file: Path | None = None
        with self._calling("connect"):
            self._client = _quiet_client(uri)
        if uri.startswith(_SQLITE):
            self._file = Path(uri.removeprefix(_SQLITE))

    def register(
        self, model: str, package: Path, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """Store the package as a run and a version of it. A version counts as registered by its last tag."""
        manifest, digest = check_package(package), package_digest(package)
        histogram = json.dumps(manifest.score_histogram)
        facts = {**tags, _DIGEST: digest, _KIND: manifest.kind, _HISTOGRAM: histogram}
        with _silent_for_longer(), self._calling(f"register a version of {model}"):
            run = self._client.create_run(self._experiment(model), run_name=f"{manifest.kind}-{digest[:8]}", tags=facts)
            try:
                version = self._store(model, run, package, metrics=metrics, facts=facts)
            except BaseException:
                self._discard(model, run.info.run_id)
                raise
        return self.get(model, version)

    def versions(self, model: str) -> list[ModelVersion]:
        """All complete versions, oldest first."""
        with self._calling(f"list the versions of {model}"):
            found = self._client.search_model_versions(f"name = '{model}'", max_results=10_000)
            roles = self._roles(model) if found else {}
            complete = [version for version in found if _COMPLETE in version.tags]
            return sorted((self._version(v, roles) for v in complete), key=lambda version: version.version)

    def get(self, model: str, version: int) -> ModelVersion:
        """One version."""
        with self._calling(f"look up {model} version {version}"):
            return self._version(self._found(model, version), self._roles(model))

    def holder(self, model: str, role: Role) -> ModelVersion | None:
        """The version that holds a role now."""
        with self._calling(f"look up the {role} of {model}"):
            roles = self._roles(model)
            number = roles.get(role)
            return None if number is None else self._version(self._found(model, number), roles)

    def assign(self, model: str, role: Role, version: int) -> None:
        """Set the role's alias, which takes it from the one that holds it."""
        with self._calling(f"make {model} version {version} the {role}"):
            self._found(model, version)
            self._client.set_registered_model_alias(model, role.value, str(version))

    def withdraw(self, model: str, role: Role) -> None:
        """Delete the role's alias."""
        with self._calling(f"take the role of the {role} of {model} back"):
            if role in self._roles(model):
                self._client.delete_registered_model_alias(model, role.value)

    def quarantine(self, model: str, version: int, reason: str | None) -> None:
        """Set or remove the tag with the reason."""
        with self._calling(f"quarantine {model} version {version}"):
            found = self._found(model, version)
            if reason is not None:
                self._client.set_model_version_tag(model, str(version), _QUARANTINE, reason)
            elif _QUARANTINE in found.tags:
                self._client.delete_model_version_tag(model, str(version), _QUARANTINE)

    def note(self, model: str, version: int, name: str, value: str) -> None:
        """Set a version's tag."""
        with self._calling(f"write down {name} of {model} version {version}"):
            self._found(model, version)
            self._client.set_model_version_tag(model, str(version), name, value)

    @property
    def address(self) -> str:
        """The store's address, or the server's."""
        return self._uri

    def keep_report(self, model: str, version: int, name: str, text: str) -> None:
        """Keep a report as an artifact of the version's run."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with _silent_for_longer(), self._calling(f"keep a report about {model} version {version}"):
            run_id = self._found(model, version).run_id
            self._client.log_text(run_id, text, f"{_REPORTS}/{name}")
            kind = f"{_REPORTS}/{name.partition('-')[0]}-"
            found = (file.path for file in self._client.list_artifacts(run_id, _REPORTS))
            paths = sorted(path for path in found if path.startswith(kind))
            uri = self._client.get_run(run_id).info.artifact_uri
            artifacts = get_artifact_repository(uri, tracking_uri=self._uri)  # a server's proxy is found by it
            for path in paths[:-MOST_REPORTS]:
                artifacts.delete_artifacts(path)

    def fetch(self, model: str, version: int, into: Path) -> Path:
        """Download a version's package below `into`, digest checked."""
        with _silent_for_longer(), self._calling(f"fetch {model} version {version}"):
            found = self._found(model, version)

            def fill(draft: Path) -> None:
                with TemporaryDirectory() as downloads:
                    source = Path(self._client.download_artifacts(found.run_id, _PACKAGE, downloads))
                    for path in source.iterdir():
                        (draft / path.name).write_bytes(path.read_bytes())

            return ensure_package(into / f"{model}-v{version}", found.tags[_DIGEST], fill)

    def _store(
        self, model: str, run: "Run", package: Path, *, metrics: Mapping[str, float], facts: Mapping[str, str]
    ) -> int:
        run_id, manifest = run.info.run_id, read_manifest(package)
        for name, value in metrics.items():
            self._client.log_metric(run_id, name, value)
        for name in ("keep_rate", "features", "columns"):
            self._client.log_param(run_id, name, str(getattr(manifest, name)))
        self._client.log_artifacts(run_id, str(package), _PACKAGE)
        self._client.log_text(run_id, yaml.safe_dump(_signature(run_id, manifest)), f"{_PACKAGE}/MLmodel")
        self._ensure_model(model)
        source = f"{run.info.artifact_uri}/{_PACKAGE}"
        version = self._client.create_model_version(model, source, run_id, tags=dict(facts))
        self._client.set_terminated(run_id)
        self._client.set_model_version_tag(model, version.version, _COMPLETE, "true")
        return int(version.version)

    def _discard(self, model: str, run_id: str) -> None:
        for version in self._client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'"):
            self._client.delete_model_version(model, version.version)
        self._client.delete_run(run_id)

    def _experiment(self, model: str) -> str:
        experiment = self._client.get_experiment_by_name(model)
        if experiment is not None:
            return str(experiment.experiment_id)
        location = None if self._artifacts is None else (self._artifacts.resolve() / model).as_uri()
        return str(self._client.create_experiment(model, artifact_location=location))

    def _ensure_model(self, model: str) -> None:
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(model)

    def _roles(self, model: str) -> dict[Role, int]:
        known = self._client.search_registered_models(f"name = '{model}'")
        aliases = dict(known[0].aliases) if known else {}
        return {role: int(aliases[role.value]) for role in Role if role.value in aliases}

    def _found(self, model: str, version: int) -> "MlflowVersion":
        found = self._client.search_model_versions(f"name = '{model}' and version_number = {version}")
        if not found or _COMPLETE not in found[0].tags:
            raise UnknownVersionError(f"{model} has no version {version}: `perch models` lists those there are")
        return found[0]

    def _version(self, version: "MlflowVersion", roles: Mapping[Role, int]) -> ModelVersion:
        number = int(version.version)
        return ModelVersion(
            model=version.name,
            version=number,
            digest=version.tags[_DIGEST],
            kind=version.tags[_KIND],
            score_histogram=tuple(json.loads(version.tags[_HISTOGRAM])),
            metrics=dict(self._client.get_run(version.run_id).data.metrics),
            tags={name: value for name, value in version.tags.items() if not name.startswith("perch.")},
            roles=frozenset(role for role, holder in roles.items() if holder == number),
            quarantine=version.tags.get(_QUARANTINE),
            run=version.run_id,
        )

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        """Turn whatever MLflow and its database raise into one sentence."""
        from mlflow.exceptions import MlflowException

        try:
            if self._file is not None and not self._file.exists():
                raise FileNotFoundError(f"{self._file} is gone")  # its open connections would go on, for nobody
            yield
        except (MlflowException, *_database_errors(self._uri), OSError) as error:
            cause = str(error).strip().partition("\n")[0][:200]
            raise RegistryError(
                f"cannot {what}: the MLflow registry at {self._uri} answers {cause!r}: "
                "check that it runs and that the address is right, then try again"
            ) from error


@contextmanager
def _silent_for_longer() -> Iterator[None]:
    """Let the server be silent for as long as a package may take it; what else is asked meanwhile may wait so, too."""
    with _TRAVELLING:
        usual = os.environ[_TIMEOUT]
        os.environ[_TIMEOUT] = str(max(int(usual), _PACKAGE_TIMEOUT_S))
        try:
            yield
        finally:
            os.environ[_TIMEOUT] = usual


def _database_errors(uri: str) -> tuple[type[Exception], ...]:
    """What a store on this machine raises; the client of a server is installed without a database's."""
    if not uri.startswith(_SQLITE):
        return ()
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError,)


def _quiet_client(uri: str) -> "MlflowClient":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if uri.startswith(_SQLITE):
            client.search_registered_models(max_results=1)  # creates the tables of a new database
        return client


def _signature(run_id: str, manifest: Manifest) -> dict[str, Any]:
    """What MLflow's page shows of a model: inputs and outputs, in its own `MLmodel` format."""
    inputs = [{"name": name, "type": "double", "required": False} for name in manifest.schema.numeric]
    inputs += [{"name": name, "type": "string", "required": False} for name in manifest.schema.categorical]
    outputs = [{"name": "probability", "type": "double", "required": True}]
    return {
        "artifact_path": _PACKAGE,
        "run_id": run_id,
        "flavors": {"perch": {"kind": manifest.kind}},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
    }
