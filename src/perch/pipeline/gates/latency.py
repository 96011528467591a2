"""Does the packaged model answer in time? Asked of a real serving process, not of the scoring function alone."""

import json
from typing import ClassVar

import pandas as pd

from perch.pipeline.case import Case
from perch.pipeline.features import Prepared, spread
from perch.pipeline.record import Finding, NotJudged
from perch.workload.schema import Schema

_SLATES = 200
_CANDIDATES = 20
"""Rows of a request: as many as the candidates of a busy auction."""


class Latency:
    """The p99 of a serving process for this package is within the SLO, and no request failed.

    Asked of the quietest fifth of the requests: a machine that trains is busy, and the model is not to blame for that.
    """

    name: ClassVar[str] = "latency"

    def check(self, case: Case) -> Finding | NotJudged:
        """Hold the proof against the SLO."""
        proof, slo_ms = case.proof, case.settings.slo.latency_p99_ms
        if proof is None:
            return NotJudged(self.name, "no serving process was started for this package")
        if proof.digest != case.digest:
            sentence = f"the proof of latency is of another package, {proof.digest[:12]}"
            return Finding.judged(self.name, sentence, passed=False)
        if proof.trouble:
            return Finding.judged(self.name, f"the package cannot be served: {proof.trouble}", passed=False)
        passed = proof.quiet_p99_ms <= slo_ms and not proof.failures
        failed = f" and {proof.failures} of them failed" if proof.failures else ""
        sentence = (
            f"the p99 of the quietest fifth of {proof.requests:,} requests is {proof.quiet_p99_ms:.1f} ms "
            f"({proof.p99_ms:.1f} ms over all){failed}; {slo_ms:g} ms are allowed"
        )
        figures = {
            "p50_ms": proof.p50_ms,
            "p99_ms": proof.p99_ms,
            "quiet_p99_ms": proof.quiet_p99_ms,
            "allowed_p99_ms": slo_ms,
            "requests": float(proof.requests),
            "failures": float(proof.failures),
        }
        return Finding.judged(self.name, sentence, passed=passed, figures=figures)


def requests_of(prepared: Prepared) -> bytes:
    """Bodies of `POST /rank` made of the evaluation rows, one a line: what `perch.serving.proof` is to send."""
    frame = prepared.evaluation
    rows = records(frame.iloc[spread(len(frame), min(len(frame), _SLATES * _CANDIDATES))], prepared.schema)
    slates = (rows[i : i + _CANDIDATES] for i in range(0, len(rows), _CANDIDATES))
    return b"".join(json.dumps({"context": {}, "candidates": slate}).encode() + b"\n" for slate in slates)


def records(frame: pd.DataFrame, schema: Schema) -> list[dict[str, float | str | None]]:
    """Rows of a log as a client sends them: the inputs alone, `None` where there is no value."""
    inputs = frame[list(schema.inputs)].astype(object)
    values = inputs.where(inputs.notna(), None).to_numpy().tolist()
    return [dict(zip(schema.inputs, row, strict=True)) for row in values]
