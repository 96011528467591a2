"""The whole pipeline on one machine: from a click log to registered models with roles.

The baseline is trained and registered first and always, so that there is something simple to come home to before
anything clever asks for traffic.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.pipeline.case import Case
from perch.pipeline.evaluate import Evaluation, evaluate
from perch.pipeline.features import BASELINE_KIND, CHALLENGER_KIND, Prepared
from perch.pipeline.gates import ask
from perch.pipeline.incumbents import check_incumbents, incumbents
from perch.pipeline.ingest import ingest
from perch.pipeline.record import Record
from perch.pipeline.register import register
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.streaming import held, prepare_log, validate_log
from perch.pipeline.train import fit
from perch.workload.model import Scorer
from perch.workload.package import write_package

Progress = Callable[[str, str], None]
"""Told the stage and a message while the pipeline runs."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one step took."""

    name: str
    seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that was registered, and how it was judged."""

    version: ModelVersion
    evaluation: Evaluation
    record: Record | None
    """What the gates said of it; `None` for the baseline, which no gate keeps out."""


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What a run of the pipeline made."""

    baseline: TrainedModel
    challenger: TrainedModel
    prepared: Prepared
    """For `challenge`, which trains further models on the same rows."""

    stages: list[Stage]


def train(
    source: Source,
    *,
    registry: ModelRegistry,
    model: str,
    workdir: Path,
    settings: PipelineSettings | None = None,
    progress: Progress | None = None,
) -> PipelineResult:
    """Train, judge and register a baseline and a challenger.

    The baseline gets its role when nobody holds it, and is champion where there is none. The challenger gets its
    role when all gates let it pass; refused, it is registered with the reason and gets none.

    Args:
        source: The click log.
        registry: Where models are registered.
        model: Name under which they are.
        workdir: Folder for the ingested log and the packages; created when it does not exist.
        settings: How to train.
        progress: Told what happens.

    Raises:
        DataError: The log cannot be used.
        ModelError: The registered champion or baseline cannot be loaded, or reads another log.
        RegistryError: The registry does not answer.
    """
    run = _Run(registry, model, workdir, settings or PipelineSettings(), progress)
    prepared = run.prepare(source)
    run.check_registered(prepared)
    return PipelineResult(run.baseline(prepared), run.challenger(prepared), prepared, run.stages)


def challenge(
    prepared: Prepared,
    *,
    registry: ModelRegistry,
    model: str,
    workdir: Path,
    settings: PipelineSettings,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train, judge and register one more challenger on rows that are prepared already: a few seconds.

    Another `settings.seed` gives another model. Raises as `train` does.
    """
    return _Run(registry, model, workdir, settings, progress).challenger(prepared)


class _Run:
    """One run of the pipeline: its steps with their destination, timed and reported."""

    def __init__(
        self, registry: ModelRegistry, model: str, workdir: Path, settings: PipelineSettings, progress: Progress | None
    ) -> None:
        self.stages: list[Stage] = []
        self._registry, self._model, self._workdir = registry, model, workdir
        self._settings, self._progress = settings, progress
        self._incumbents = workdir / "serving"

    def prepare(self, source: Source) -> Prepared:
        with self._stage("ingest", f"reading {source}") as took:
            log = ingest(source, self._workdir, partial(self._tell, "ingest"))
            took(log.rows)
        parts = "" if held(log, self._settings) else ", in parts: they do not fit into the declared memory"
        with self._stage("validate", f"checking {log.rows:,} impressions{parts}") as took:
            validate_log(log, self._settings, now_s=time.time())
            took(log.rows)
        with self._stage("features", f"maturing labels and counting feature tables{parts}") as took:
            prepared = prepare_log(log, self._settings, scratch=self._workdir)
            took(log.rows)
        return prepared

    def check_registered(self, prepared: Prepared) -> None:
        """Find out that the champion and the baseline cannot be judged on this log before anything is registered."""
        check_incumbents(self._registry, self._model, prepared, self._incumbents)

    def baseline(self, prepared: Prepared) -> TrainedModel:
        scorer, evaluation = self._fit(prepared, BASELINE_KIND, "baseline")
        with self._stage("register", "registering the baseline"):
            package, _ = self._packaged(scorer, evaluation)
            version = self._register(package, evaluation, prepared, record=None)
            for role in (Role.BASELINE, Role.CHAMPION):
                if self._registry.holder(self._model, role) is None:
                    self._registry.assign(self._model, role, version.version)
        return TrainedModel(self._registry.get(self._model, version.version), evaluation, record=None)

    def challenger(self, prepared: Prepared) -> TrainedModel:
        scorer, evaluation = self._fit(prepared, CHALLENGER_KIND, "challenger")
        with self._stage("gate", "asking the gates") as took:
            case = self._case(scorer, evaluation, prepared)
            record = ask(case)
            took(len(prepared.evaluation))
        with self._stage("register", record.reason):
            version = self._register(case.package, evaluation, prepared, record=record)
            if record.accepted and version.quarantine is None:
                self._registry.assign(self._model, Role.CHALLENGER, version.version)
        return TrainedModel(self._registry.get(self._model, version.version), evaluation, record)

    def _case(self, scorer: Scorer, evaluation: Evaluation, prepared: Prepared) -> Case:
        """No server is started and nothing is trained twice: the gates that ask for it say so in the record."""
        package, digest = self._packaged(scorer, evaluation)
        champion, baseline = incumbents(self._registry, self._model, prepared, self._settings, self._incumbents)
        return Case(
            kind=scorer.estimator.kind,
            package=package,
            digest=digest,
            scorer=scorer,
            evaluation=evaluation,
            prepared=prepared,
            champion=champion,
            baseline=baseline,
            settings=self._settings,
            now_s=time.time(),
        )

    def _fit(self, prepared: Prepared, kind: str, what: str) -> tuple[Scorer, Evaluation]:
        with self._stage("train", f"training the {what}") as took:
            scorer = fit(prepared, kind, self._settings)
            took(len(prepared.training_clicked))
        with self._stage("evaluate", f"judging the {what} on later days") as took:
            evaluation = evaluate(scorer, prepared, self._settings)
            took(len(prepared.evaluation))
        return scorer, evaluation

    def _packaged(self, scorer: Scorer, evaluation: Evaluation) -> tuple[Path, str]:
        folder = self._workdir / "packages" / f"{scorer.estimator.kind}-{self._settings.seed}"
        return folder, write_package(folder, scorer, score_histogram=evaluation.score_histogram)

    def _register(
        self, package: Path, evaluation: Evaluation, prepared: Prepared, *, record: Record | None
    ) -> ModelVersion:
        return register(
            package,
            evaluation,
            prepared,
            self._settings,
            registry=self._registry,
            model=self._model,
            record=record,
        )

    @contextmanager
    def _stage(self, name: str, message: str) -> Iterator[Callable[[int], None]]:
        """Time a step; what it yields takes the number of rows, once it is known."""
        self._tell(name, message)
        rows: list[int] = []
        start = time.perf_counter()
        yield rows.append
        self.stages.append(Stage(name, time.perf_counter() - start, sum(rows)))

    def _tell(self, stage: str, message: str) -> None:
        if self._progress is not None:
            self._progress(stage, message)
