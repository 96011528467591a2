"""What a step is given: the declaration as text, since steps in pods share nothing, and the place where it runs."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

import perch
from perch.pipeline.features import BASELINE_KIND
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source, source_key
from perch.settings import ModelService, parse_declaration
from perch.world.log_file import write_log

_MARKET: Final = "market"


def service_of(declaration: str) -> ModelService:
    """The declaration that a workflow was begun with; raises `DeclarationError` when this Perch cannot read it."""
    return parse_declaration(declaration, source="the declaration that the workflow was begun with")


def settings_of(service: ModelService) -> PipelineSettings:
    """How a service's models are trained and judged."""
    spec = service.spec
    return PipelineSettings(
        seed=spec.training.seed,
        memory_bytes=spec.training.memory_bytes,
        attribution_window_s=spec.attribution_window_s,
        user_column=spec.events.user_column,
        gates=spec.training.gates,
        slo=spec.slo,
    )


def kinds_of(service: ModelService) -> tuple[str, ...]:
    """The kinds of model that are trained: the baseline's, and those of the candidates."""
    return tuple(dict.fromkeys((BASELINE_KIND, *service.spec.training.candidates)))


def source_of(service: ModelService, scratch: Path) -> Source:
    """The click log to train on; where none is declared, a simulated market writes one into `scratch`."""
    training = service.spec.training
    if training.data:
        return Source(training.data, training.format)
    return Source(write_log(scratch), "parquet")


def data_key(service: ModelService) -> str:
    """Key of the log as it is now, read by this code."""
    training = service.spec.training
    return _key_of(source_key(Source(training.data, training.format)) if training.data else _MARKET)


def prepared_key(data_key: str, service: ModelService) -> str:
    """Key of the prepared log: that of its data, and of how it is prepared."""
    return _key_of(data_key, repr(settings_of(service)), *kinds_of(service))


def _key_of(*what: str) -> str:
    """Equal code makes of equal things the same."""
    return hashlib.sha256(json.dumps([_code(), *what]).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Digest of the code that runs: a version says too little of an image, or a checkout, that is being worked on."""
    digest = hashlib.sha256()
    for path in sorted(Path(perch.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
