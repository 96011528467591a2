"""`perch train`, `perch learn` and `perch models`."""

from collections.abc import Mapping

from rich.table import Column, Table

from perch.adapters.registry.port import Role
from perch.cli.options import console
from perch.cli.target import Target
from perch.errors import UsageError
from perch.pipeline.record import Record
from perch.pipeline.run import TrainedModel, learn, train
from perch.pipeline.source import Source
from perch.settings import ModelService
from perch.workflows.given import settings_of, source_of

_SHOWN = ("log_loss", "auc", "pr_auc", "normalised_entropy", "calibration_ratio", "expected_calibration_error")


def train_and_tell(
    target: Target, declaration: ModelService, data: str | None, data_format: str | None, seed: int | None
) -> None:
    """Train as it is declared, but for what is named here, and print what came of it.

    Raises:
        UsageError: there is a format, but no log.
        DataError: the log cannot be used.
        RegistryError: the registry does not answer.
    """
    if data_format is not None and data is None:
        raise UsageError(f"--format {data_format} says how a click log is laid out. Name the log with --data.")
    told = {"data": data, "format": data_format or "parquet"} if data else {}
    asked = _asking(declaration, told | ({} if seed is None else {"seed": seed}))
    workdir = target.folder / "training"
    with console.status("simulating 14 days of a market") as waiting:
        source = source_of(asked, workdir)
        waiting.update("opening the registry")
        with target.registry() as registry:
            result = train(
                source,
                registry=registry,
                model=asked.spec.model,
                workdir=workdir,
                settings=settings_of(asked),
                candidates=asked.spec.training.candidates,
                progress=lambda stage, message: waiting.update(f"{stage}: {message}"),
            )
    for stage in result.stages:
        rate = f"{stage.rows / stage.seconds:>12,.0f} rows/s" if stage.rows > 1 and stage.seconds else ""
        console.print(f"{stage.name:<10} {stage.seconds:6.1f} s {rate}", highlight=False)
    console.print(_table([result.baseline, *result.candidates]))
    _tell_gates(target, result.challenger)


def learn_and_tell(target: Target, declaration: ModelService, data: str, data_format: str | None) -> None:
    """Have the light model learn a log of later times, and print what came of it.

    Raises:
        DataError: the log cannot be used, or tells nothing new.
        ModelError: no model is registered that learns further rows.
        RegistryError: the registry does not answer.
    """
    with console.status("opening the registry") as waiting, target.registry() as registry:
        learnt = learn(
            Source(data, data_format or "parquet"),
            registry=registry,
            model=declaration.spec.model,
            workdir=target.folder / "training",
            settings=settings_of(declaration),
            progress=lambda stage, message: waiting.update(f"{stage}: {message}"),
        )
    console.print(_table([learnt]))
    _tell_gates(target, learnt)


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


def _asking(declaration: ModelService, told: Mapping[str, str | int]) -> ModelService:
    """The declaration, with what a person tells of its training in place of what it says."""
    training = declaration.spec.training.model_copy(update=dict(told))
    return declaration.model_copy(update={"spec": declaration.spec.model_copy(update={"training": training})})


def _tell_gates(target: Target, challenger: TrainedModel) -> None:
    record = challenger.record
    if record is None:
        return
    console.print(_findings(record))
    console.print(f"The gates say: {record.reason}.")
    if record.accepted:
        release = f"perch rollout start --version {challenger.version.version}{target.options}"
        console.print(f"Next: {target.bring_up}; {release}")
    else:
        console.print(f"The challenger is registered with this reason and not offered. Next: {target.bring_up}")


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
