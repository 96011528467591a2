"""What one step leaves for the next one, as a folder: steps may run in processes, and pods, of their own.

Everything comes back as it was to the last bit, for a model must not depend on where its steps ran. Arrays are mapped,
not read: a step that trains one kind of model never loads the features of another.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather
from pydantic import TypeAdapter

from perch.errors import DataError
from perch.pipeline.evaluate import Evaluation, SliceEvaluation
from perch.pipeline.features import Prepared, TrainingInput
from perch.pipeline.ingest import Ingested
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.metrics import Interval
from perch.workload.schema import Schema

_FACTS = "facts.json"
_FRAMES = ("evaluation", "training_sample")
_LOSSES = "losses"

_SLICES = TypeAdapter(dict[str, SliceEvaluation])


def write_ingested(folder: Path, log: Ingested) -> None:
    """Write what is known of a log, beside the log itself."""
    _write_facts(folder, {"schema": asdict(log.schema), "rows": log.rows, "digest": log.digest})


def read_ingested(folder: Path) -> Ingested:
    """Read a log that `write_ingested` wrote; raises `DataError` when it is none."""
    facts = _facts(folder)
    return Ingested(folder / "log.parquet", _schema(facts["schema"]), facts["rows"], facts["digest"])


def write_prepared(folder: Path, prepared: Prepared) -> None:
    """Write a prepared log."""
    facts = {field.name: getattr(prepared, field.name) for field in fields(prepared)}
    scalars = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    inputs = {kind: _input_facts(one) for kind, one in prepared.inputs.items()}
    _write_facts(folder, {**scalars, "schema": asdict(prepared.schema), "inputs": inputs})
    _write_array(folder, "training_clicked", prepared.training_clicked)
    _write_array(folder, "evaluation_clicked", prepared.evaluation_clicked)
    for name in _FRAMES:
        rows = pa.Table.from_pandas(getattr(prepared, name), preserve_index=False)
        feather.write_feather(rows, str(folder / f"{name}.arrow"))
    for kind, one in prepared.inputs.items():
        (folder / kind).mkdir()
        for name, array in _arrays(one).items():
            _write_array(folder / kind, name, array)


def read_prepared(folder: Path) -> Prepared:
    """Read a prepared log that `write_prepared` wrote; raises `DataError` when it is none."""
    facts = _facts(folder)
    inputs = {kind: _input(folder / kind, told) for kind, told in facts["inputs"].items()}
    return Prepared(
        **facts
        | {
            "schema": _schema(facts["schema"]),
            "inputs": inputs,
            "training_clicked": _array(folder, "training_clicked"),
            "evaluation_clicked": _array(folder, "evaluation_clicked"),
            **{name: feather.read_table(str(folder / f"{name}.arrow")).to_pandas() for name in _FRAMES},
        }
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write how a model did."""
    facts = {
        "metrics": evaluation.metrics,
        "calibration_interval": asdict(evaluation.calibration_interval),
        "slices": {name: asdict(part) for name, part in evaluation.slices.items()},
        "score_histogram": evaluation.score_histogram,
    }
    _write_facts(folder, facts)
    _write_array(folder, _LOSSES, evaluation.losses)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation that `write_evaluation` wrote; raises `DataError` when it is none."""
    facts = _facts(folder)
    return Evaluation(
        losses=_array(folder, _LOSSES),
        metrics=facts["metrics"],
        calibration_interval=Interval(**facts["calibration_interval"]),
        slices=_SLICES.validate_python(facts["slices"]),
        score_histogram=tuple(facts["score_histogram"]),
    )


def _input_facts(one: TrainingInput) -> dict[str, Any]:
    transform = one.transform
    return {"columns": asdict(transform.columns), "settings": asdict(transform.settings), "keep_rate": one.keep_rate}


def _arrays(one: TrainingInput) -> dict[str, NDArray[Any]]:
    table = one.transform
    return {
        "values": one.values,
        "clicked": one.clicked,
        "impressions": table.impressions,
        "clicks": table.clicks,
    }


def _input(folder: Path, told: Mapping[str, Any]) -> TrainingInput:
    columns = TypeAdapter(FeatureColumns).validate_python(told["columns"])
    settings = FeatureSettings(**told["settings"])
    transform = Transform(columns, settings, _array(folder, "impressions"), _array(folder, "clicks"))
    return TrainingInput(transform, _array(folder, "values"), _array(folder, "clicked"), told["keep_rate"])


def _schema(told: Mapping[str, Any]) -> Schema:
    return TypeAdapter(Schema).validate_python(told)


def _write_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _array(folder: Path, name: str) -> NDArray[Any]:
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not what a step leaves behind ({error}): run the workflow again") from error
    return facts
