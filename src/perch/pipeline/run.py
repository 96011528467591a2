"""The whole pipeline on one machine: from a click log to registered models with roles.

The baseline is trained and registered first and always, so that there is something simple to come home to before
anything clever asks for traffic.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from perch.adapters.registry.port import ModelRegistry, ModelVersion
from perch.errors import RefusedError
from perch.pipeline.case import Case
from perch.pipeline.evaluate import Evaluation, evaluate
from perch.pipeline.features import BASELINE_KIND, CHALLENGER_KIND, Prepared
from perch.pipeline.gates import ask
from perch.pipeline.incumbents import check_incumbents, incumbents
from perch.pipeline.ingest import ingest
from perch.pipeline.learn import known_version, learn_rows, prepare_new
from perch.pipeline.offer import offer, seat
from perch.pipeline.profile import profile
from perch.pipeline.record import Record
from perch.pipeline.reference import reference
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
    candidates: tuple[TrainedModel, ...]
    """In the order in which they were asked for; at least one."""

    offered: int | None
    """Version that asks for traffic; `None` when no candidate passed its gates."""

    prepared: Prepared
    """For `challenge`, which trains further models on the same rows."""

    stages: list[Stage]

    @property
    def challenger(self) -> TrainedModel:
        """The candidate that is offered; the first one, when none is."""
        return next((one for one in self.candidates if one.version.version == self.offered), self.candidates[0])


def train(
    source: Source,
    *,
    registry: ModelRegistry,
    model: str,
    workdir: Path,
    settings: PipelineSettings | None = None,
    candidates: Sequence[str] = (CHALLENGER_KIND,),
    progress: Progress | None = None,
) -> PipelineResult:
    """Train, judge and register a baseline and its candidates.

    The baseline gets its role when nobody holds it, and is champion where there is none. The best candidate that passes
    all gates is the challenger; one that does not is registered with the reason.

    Args:
        source: The click log.
        registry: Where models are registered.
        model: Name under which they are.
        workdir: Folder for the ingested log and the packages; created when it does not exist.
        settings: How to train.
        candidates: Kinds of model to train beside the baseline; at least one.
        progress: Told what happens.

    Raises:
        DataError: The log cannot be used.
        ModelError: The registered champion or baseline cannot be loaded, or reads another log.
        RegistryError: The registry does not answer.
    """
    run = _Run(registry, model, workdir, settings or PipelineSettings(), progress)
    prepared = run.prepare(source, kinds=tuple(dict.fromkeys((BASELINE_KIND, *candidates))))
    run.check_registered(prepared)
    baseline = run.baseline(prepared)
    models = tuple(run.candidate(prepared, kind) for kind in candidates)
    offered = run.offer(*models)
    return PipelineResult(baseline, tuple(map(run.again, models)), offered, prepared, run.stages)


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
    run = _Run(registry, model, workdir, settings, progress)
    trained = run.candidate(prepared, CHALLENGER_KIND)
    run.offer(trained)
    return run.again(trained)


def learn(
    source: Source,
    *,
    registry: ModelRegistry,
    model: str,
    workdir: Path,
    settings: PipelineSettings,
    progress: Progress | None = None,
) -> TrainedModel:
    """Have the light model learn what came since it was trained, and propose what comes of it as a challenger.

    It goes through the same gates as any candidate, and gets the challenger's role only when all let it pass.

    Args:
        source: A click log of later times; rows that the model knows already are left out.
        registry: Where models are registered.
        model: Name under which they are.
        workdir: Folder for the ingested log and the packages; created when it does not exist.
        settings: How to judge.
        progress: Told what happens.

    Raises:
        DataError: The log cannot be used, or tells nothing new.
        ModelError: Neither champion nor baseline is of a kind that learns further rows.
        RegistryError: The registry does not answer, or has no champion yet.
    """
    run = _Run(registry, model, workdir, settings, progress)
    trained = run.learnt(source)
    run.offer(trained)
    return run.again(trained)


class _Run:
    """One run of the pipeline: its steps with their destination, timed and reported."""

    def __init__(
        self, registry: ModelRegistry, model: str, workdir: Path, settings: PipelineSettings, progress: Progress | None
    ) -> None:
        self.stages: list[Stage] = []
        self._registry, self._model, self._workdir = registry, model, workdir
        self._settings, self._progress = settings, progress
        self._incumbents = workdir / "serving"

    def prepare(self, source: Source, kinds: Sequence[str]) -> Prepared:
        with self._stage("ingest", f"reading {source}") as took:
            log = ingest(source, self._workdir, partial(self._tell, "ingest"))
            took(log.rows)
        parts = "" if held(log, self._settings) else ", in parts: they do not fit into the declared memory"
        with self._stage("validate", f"checking {log.rows:,} impressions{parts}") as took:
            validate_log(log, self._settings, now_s=time.time())
            took(log.rows)
        with self._stage("features", f"maturing labels and counting feature tables{parts}") as took:
            prepared = prepare_log(log, self._settings, scratch=self._workdir, kinds=kinds)
            took(log.rows)
        return prepared

    def check_registered(self, prepared: Prepared) -> None:
        """Find out that the champion and the baseline cannot be judged on this log before anything is registered."""
        check_incumbents(self._registry, self._model, prepared, self._incumbents)

    def baseline(self, prepared: Prepared) -> TrainedModel:
        scorer, evaluation = self._fit(prepared, BASELINE_KIND, "baseline")
        with self._stage("register", "registering the baseline"):
            package, _ = self._packaged(scorer, evaluation, prepared)
            version = self._register(package, evaluation, prepared, record=None)
            seat(self._registry, version)
        return self.again(TrainedModel(version, evaluation, record=None))

    def candidate(self, prepared: Prepared, kind: str) -> TrainedModel:
        return self._judged(prepared, *self._fit(prepared, kind, f"{kind} candidate"), origin={})

    def learnt(self, source: Source) -> TrainedModel:
        with self._stage("ingest", f"reading {source}") as took:
            log = ingest(source, self._workdir, partial(self._tell, "ingest"))
            took(log.rows)
        known = known_version(self._registry, self._model, self._incumbents)
        with self._stage("features", f"counting what version {known.version} does not know on its table") as took:
            prepared = prepare_new(log, known, self._settings, now_s=time.time())
            took(prepared.data_rows)
        self.check_registered(prepared)
        with self._stage("train", f"learning from where version {known.version} stopped") as took:
            scorer = learn_rows(known, prepared)
            took(len(prepared.training_clicked))
        with self._stage("evaluate", "judging it on the last rows") as took:
            evaluation = evaluate(scorer, prepared, self._settings)
            took(len(prepared.evaluation))
        origin = {"reason": "learn", "learnt_from": str(known.version)}
        return self._judged(prepared, scorer, evaluation, origin=origin)

    def offer(self, *models: TrainedModel) -> int | None:
        """Let the best that passed ask for traffic; what stopped the others stands in their records."""
        try:
            return offer(self._registry, self._model, [one.version.version for one in models])
        except RefusedError:
            return None

    def again(self, trained: TrainedModel) -> TrainedModel:
        """The model, with the roles that it has got since."""
        return replace(trained, version=self._registry.get(self._model, trained.version.version))

    def _judged(
        self, prepared: Prepared, scorer: Scorer, evaluation: Evaluation, *, origin: Mapping[str, str]
    ) -> TrainedModel:
        with self._stage("gate", "asking the gates") as took:
            case = self._case(scorer, evaluation, prepared)
            record = ask(case)
            took(len(prepared.evaluation))
        with self._stage("register", record.reason):
            version = self._register(case.package, evaluation, prepared, record=record, origin=origin)
        return TrainedModel(version, evaluation, record)

    def _case(self, scorer: Scorer, evaluation: Evaluation, prepared: Prepared) -> Case:
        """No server is started and nothing is trained twice: the gates that ask for it say so in the record."""
        package, digest = self._packaged(scorer, evaluation, prepared)
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

    def _packaged(self, scorer: Scorer, evaluation: Evaluation, prepared: Prepared) -> tuple[Path, str]:
        folder = self._workdir / "packages" / f"{scorer.estimator.kind}-{self._settings.seed}"
        histogram, inputs = evaluation.score_histogram, profile(scorer, prepared)
        rows = reference(prepared, self._settings)
        return folder, write_package(folder, scorer, score_histogram=histogram, profile=inputs, reference=rows)

    def _register(
        self,
        package: Path,
        evaluation: Evaluation,
        prepared: Prepared,
        *,
        record: Record | None,
        origin: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        return register(
            package,
            evaluation,
            prepared,
            self._settings,
            registry=self._registry,
            model=self._model,
            record=record,
            origin=origin,
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
