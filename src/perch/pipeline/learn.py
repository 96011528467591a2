"""Between two trainings: a light model goes on where it stopped, on the outcomes that have matured since.

Its feature table is counted on, and what its weights knew is the prior of what they learn: nothing old is read again.
Only rows after its own data are used; else they would count twice. The new log is divided as any other: its first rows
go onto the table, the next ones to the weights, and the last ones judge.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from perch.adapters.registry.port import ModelRegistry, Role
from perch.errors import DataError, ModelError, RegistryError
from perch.pipeline.features import Prepared, prepare
from perch.pipeline.ingest import Ingested
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.validate import validate
from perch.workload.model import Learner, Scorer
from perch.workload.package import load_package

DATA_TO_TAG = "data_to_s"
"""Tag of a version with the time of the last row that it knows."""


@dataclass(frozen=True, slots=True)
class Known:
    """The version that learns."""

    version: int
    scorer: Scorer
    learner: Learner
    until_s: float
    """It knows no rows after this time."""


def known_version(registry: ModelRegistry, model: str, into: Path) -> Known:
    """The champion when it can learn further rows, else the baseline; fetched into `into`.

    Raises:
        RegistryError: The registry does not answer, or nobody holds these roles.
        ModelError: Neither can learn, or the one that can does not say which rows it knows.
    """
    holders = [registry.holder(model, role) for role in (Role.CHAMPION, Role.BASELINE)]
    if None in holders:
        raise RegistryError(f"{model} has no champion to learn further: run `perch train` first")
    for version in filter(None, holders):
        scorer = load_package(registry.fetch(model, version.version, into), version.digest)
        if isinstance(scorer.estimator, Learner):
            if DATA_TO_TAG not in version.tags:
                raise ModelError(
                    f"version {version.version} does not say which rows it knows: run `perch train` once, then learn"
                )
            # the tag is rounded to seconds: a row too few is better than one that counts twice
            return Known(version.version, scorer, scorer.estimator, float(version.tags[DATA_TO_TAG]) + 1)
    raise ModelError(f"neither champion nor baseline of {model} can learn further rows: run `perch train` instead")


def prepare_new(log: Ingested, known: Known, settings: PipelineSettings, *, now_s: float) -> Prepared:
    """Prepare the rows that a version does not know, for it alone.

    Raises:
        DataError: The log is wrong, or has no later rows, or too few.
    """
    frame, kind, until_s = log.load(), known.scorer.estimator.kind, known.until_s
    validate(frame, log.schema, now_s=now_s)
    time_s = frame[log.schema.time]
    final_s = time_s.max() - (settings.attribution_window_s if log.schema.label_time else 0)
    if not time_s.between(until_s, final_s, inclusive="right").any():
        raise DataError(
            f"the log's labels are final until {final_s:.0f}, and version {known.version} knows all rows until "
            f"{until_s:.0f} (seconds since the epoch): name a log of later days"
        )
    return prepare(
        frame[time_s > until_s],
        log.schema,
        replace(settings, keep_rate=known.scorer.keep_rate),  # its intercept holds for this rate
        data_digest=log.digest,
        kinds=(kind,),
        onto={kind: known.scorer.transform},
    )


def learn_rows(known: Known, prepared: Prepared) -> Scorer:
    """The version's model, when it has learnt the prepared rows, too.

    Raises:
        ModelError: It was fitted before models said how sure their weights are.
    """
    data = prepared.inputs[known.scorer.estimator.kind]
    return replace(known.scorer, transform=data.transform, estimator=known.learner.learn(data.values, data.clicked))
