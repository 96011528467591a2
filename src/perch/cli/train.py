"""`perch train` and `perch models`."""

from pathlib import Path

from rich.table import Column, Table

from perch.adapters.registry.port import Role
from perch.cli.options import console
from perch.cli.target import Target
from perch.errors import UsageError
from perch.pipeline.record import Record
from perch.pipeline.run import TrainedModel, train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.settings import ModelService

_SHOWN = ("log_loss", "auc", "pr_auc", "normalised_entropy", "calibration_ratio", "expected_calibration_error")


def train_and_tell(
    target: Target, declaration: ModelService, data: str | None, data_format: str | None, seed: int
) -> None:
    """Train on a click log, or on a simulated one, and print what came of it.

    Raises:
        UsageError: there is a format, but no log.
        DataError: the log cannot be used.
        RegistryError: the registry does not answer.
    """
    spec, workdir = declaration.spec, target.folder / "training"
    if data_format is not None and data is None:
        raise UsageError(f"--format {data_format} says how a click log is laid out. Name the log with --data.")
    source = Source(data, data_format or "parquet") if data else _simulated(workdir)
    with console.status("opening the registry") as waiting, target.registry() as registry:
        result = train(
            source,
            registry=registry,
            model=spec.model,
            workdir=workdir,
            settings=PipelineSettings(
                seed=seed,
                memory_bytes=spec.training.memory_bytes,
                attribution_window_s=spec.attribution_window_s,
                gates=spec.training.gates,
                slo=spec.slo,
            ),
            progress=lambda stage, message: waiting.update(f"{stage}: {message}"),
        )
    for stage in result.stages:
        rate = f"{stage.rows / stage.seconds:>12,.0f} rows/s" if stage.rows > 1 and stage.seconds else ""
        console.print(f"{stage.name:<10} {stage.seconds:6.1f} s {rate}", highlight=False)
    console.print(_table([result.baseline, result.challenger]))
    record = result.challenger.record
    if record is None:
        return
    console.print(_findings(record))
    console.print(f"The gates say: {record.reason}.")
    if record.accepted:
        release = f"perch rollout start --version {result.challenger.version.version}{target.options}"
        console.print(f"Next: {target.bring_up}; {release}")
    else:
        console.print(f"The challenger is registered with this reason and not offered. Next: {target.bring_up}")


def tell_versions(target: Target, model: str) -> None:
    """Print the registered versions."""
    with target.registry() as registry:
        versions = registry.versions(model)
    if not versions:
        console.print(f"No version of {model} is registered yet. Train one with: perch train")
        return
    roles = Column("roles", no_wrap=True)
    table = Table("version", "kind", roles, "log loss", "AUC", "digest", "said of it", box=None)
    for version in versions:
        said = f"in quarantine: {version.quarantine}" if version.quarantine else version.tags.get("gate_reason", "")
        table.add_row(
            str(version.version),
            version.kind,
            ", ".join(role.value for role in Role if role in version.roles),
            *(f"{version.metrics[name]:.4f}" if name in version.metrics else "" for name in ("log_loss", "auc")),
            version.digest[:12],
            said,
        )
    console.print(table)


def _simulated(workdir: Path) -> Source:
    from perch.world.market import Market

    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir / "market.parquet"
    with console.status("simulating 14 days of a market"):
        Market().log().to_parquet(log)
    return Source(log, "parquet")


def _table(models: list[TrainedModel]) -> Table:
    table = Table("version", "kind", *(name.replace("_", " ") for name in _SHOWN), box=None)
    for one in models:
        figures = (f"{one.version.metrics[name]:.4f}" for name in _SHOWN)
        table.add_row(str(one.version.version), one.version.kind, *figures)
    return table


def _findings(record: Record) -> Table:
    """What each gate says, on a line of its own; those that had nothing to judge by last."""
    table = Table("gate", "", Column("what it says", overflow="fold"), box=None)
    for finding in record.findings:
        table.add_row(finding.gate, "passed" if finding.passed else "refused", finding.sentence)
    for silent in record.not_judged:
        table.add_row(silent.gate, "not judged", silent.reason)
    return table
