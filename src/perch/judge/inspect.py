"""Inspects the champion's last hour, once, and says what was found: `python -m perch.judge.inspect`.

A process of its own, which ends: Evidently holds 300 MB. What it finds goes to the collector, which shows it to
Prometheus; Evidently's report goes to MLflow; and what was found first stands in the log, without any request's inputs,
for logs are read by many. It judges nobody: inputs that drift are the world's affair, and features that are skewed are
a fault that is found by their name.
"""

import argparse
import io
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, Protocol

from pyarrow import parquet

from perch import asgi
from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.errors import PerchError, PlatformError, told_in_a_sentence
from perch.judge.skew import Compared, Example, compare
from perch.signals.inspection import WINDOW_S, ColumnDrift, Inspection, Sampled
from perch.workload.package import load_package, read_manifest, read_reference

_NICE: Final = 10  # no request waits for it


class Collector(Protocol):
    """Hands out samples and takes what is found; raises `PlatformError` when it does not answer."""

    def sample(self, version: int, from_s: float, until_s: float) -> list[Sampled]:
        """Requests of a version in a span of time."""
        ...

    def keep(self, inspection: Inspection) -> None:
        """Take what was found."""
        ...


class NothingToInspectError(PlatformError):
    """There is no champion, or nothing is known of what it was asked."""


class Inspected(NamedTuple):
    """What was found of a version."""

    inspection: Inspection
    examples: list[Example]
    """The first request of each feature that is skewed."""

    notes: list[str]
    """What could not be compared, and why; where the report is. A sentence each."""


def inspect(
    collector: Collector, registry: ModelRegistry, model: str, now_s: float, *, user_column: str | None = None
) -> Inspected:
    """Inspect the champion's requests of the last hour, tell the collector, and keep the report.

    Figures and report are kept each by itself: where the one fails the other stays, and a note says so.

    Args:
        collector: Of the service.
        registry: With the champion's package.
        model: Name of the registered model.
        now_s: By the clock, in seconds since the epoch.
        user_column: Input that says who the user is, which no example has; nor has one a sensitive input.

    Raises:
        NothingToInspectError: there is no champion, or no request of it.
        PlatformError: the collector does not answer.
        RegistryError: the registry does not answer.
        ModelError: the champion's package is corrupt.
    """
    champion = registry.holder(model, Role.CHAMPION)
    if champion is None:
        raise NothingToInspectError(f"{model} has no champion, so there is nothing to inspect. See: perch models")
    sample = collector.sample(champion.version, now_s - WINDOW_S, now_s)
    if not sample:
        raise NothingToInspectError(
            f"Of version {champion.version} no request with its inputs is there from the last hour. "
            "spec.events.featuresShare is the share of the requests that have them; spec.events.retentionDays says "
            "when they go, by default after two attribution windows."
        )
    with TemporaryDirectory() as folder:
        package = registry.fetch(model, champion.version, Path(folder))
        scorer = load_package(package, champion.digest)
        hidden = {user_column, *(part.column for part in scorer.schema.slices if part.sensitive)}
        skew = compare(sample, scorer.transform, {name for name in hidden if name is not None})
        columns, report, notes = _drift(sample, package, champion)
    inspection = Inspection(model, str(champion.version), now_s, len(sample), columns, skew.matches)
    collector.keep(inspection)
    kept = [_keep(registry, champion, report, now_s)] if report is not None else []
    return Inspected(inspection, skew.examples, [*_of_skew(skew), *notes, *kept])


def _drift(
    sample: Sequence[Sampled], package: Path, champion: ModelVersion
) -> tuple[list[ColumnDrift], str | None, list[str]]:
    """Columns, report, and why there are none."""
    if find_spec("evidently") is None:
        return [], None, ["Evidently is not installed here, so no column is compared: install the group monitor."]
    kept = read_reference(package, champion.digest)
    if kept is None:
        return [], None, [f"Version {champion.version} carries no rows of its training, as of an earlier Perch."]
    asked = [(one.first, one.user) for one in sample if one.first is not None]
    rows, users = [row for row, _ in asked], [user for _, user in asked]
    profile = read_manifest(package, champion.digest).profile
    natural = {column.name: column.natural for column in profile.columns} if profile else {}
    from perch.judge.training import FEWEST_ROWS, drift  # Evidently takes ten seconds

    try:
        found = drift(rows, users, parquet.read_table(io.BytesIO(kept)).to_pandas(), natural)
    except PlatformError as error:
        return [], None, [str(error)]
    if found is None:
        return [], None, [f"{len(rows)} requests are too few to compare with training; {FEWEST_ROWS} are needed."]
    return found.columns, found.report, []


def _of_skew(skew: Compared) -> Iterator[str]:
    if not skew.matches:
        yield "No request tells which features were served, as of an earlier Perch, so there is nothing to make again."


def _keep(registry: ModelRegistry, champion: ModelVersion, report: str, now_s: float) -> str:
    name = f"training-{datetime.fromtimestamp(now_s, UTC):%Y%m%d-%H%M%S}.html"
    try:
        registry.keep_report(champion.model, champion.version, name, report)
    except PerchError as error:
        return f"Evidently's report is not kept. {error}"
    return f"Evidently's report is reports/{name} of version {champion.version}'s run in MLflow."


def sentences(found: Inspected, *, with_inputs: bool = False) -> Iterator[str]:
    """What was found, for a person; with the inputs of the examples only for one who may see them, never in a log."""
    inspection = found.inspection
    yield f"{inspection.requests:,} requests of version {inspection.version} were inspected."
    yield from _of_drift(inspection.columns)
    skewed = [one for one in inspection.features if one.equal < one.requests]
    for one, example in zip(skewed, found.examples, strict=True):
        asked = _asked(example) if with_inputs else ""
        yield (
            f"{one.feature} is skewed: training makes the same of {one.equal:,} of {one.requests:,} requests. Of "
            f"{example.request_id}{asked} serving made {example.served!r}, training {example.made_again!r}."
        )
    if inspection.features and not skewed:
        yield f"All {len(inspection.features)} features are served as training makes them, to twelve digits."
    yield from found.notes


def _of_drift(columns: Sequence[ColumnDrift]) -> Iterator[str]:
    drifting = sorted((one for one in columns if one.drifts), key=lambda one: one.threshold - one.distance)
    for one in drifting:
        yield f"{one.column} drifts from training: distance {one.distance:.2f}, threshold {one.threshold:.2f}."
    if columns and not drifting:
        yield f"None of {len(columns)} columns drifts from training."


def _asked(example: Example) -> str:
    told = ", ".join(f"{name} {value!r}" for name, value in example.asked.items())
    return f", asked with {told}," if told else ""


def main(arguments: list[str] | None = None) -> None:
    """Inspect once, and say what was found; a service that nobody asks is no failure of a job.

    Raises:
        UsageError: the token file cannot be read.
        PerchError: as `inspect` raises.
    """
    options = _parser().parse_args(arguments)
    os.nice(_NICE)
    with InspectingClient(options.collector, asgi.await_token(options.token_file)) as collector:
        try:
            said = sentences(inspect(collector, MlflowRegistry(options.registry), options.model, time.time()))
        except NothingToInspectError as nothing:
            said = iter([str(nothing)])
    for sentence in said:
        print(sentence)  # noqa: T201  the log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.judge.inspect", description="Inspects the champion, once.")
    parser.add_argument("--collector", required=True, help="base URL of the collector")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the judge's bearer token")
    parser.add_argument("--registry", required=True, help="MLflow's address")
    parser.add_argument("--model", required=True, help="name of the registered model")
    return parser


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
