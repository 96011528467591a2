"""How gates are found, what follows from their findings, and how the record comes back."""

from dataclasses import replace

import pytest

from gate_cases import MEAN, TRUTH, case, evaluation, incumbent
from perch.errors import ModelError
from perch.pipeline import gates
from perch.pipeline.record import Finding, GateVerdict, NotJudged, Record
from serving_process import write_tiny_package

QUALITY = Finding("quality", True, "better", {"difference_low": -0.04, "difference_high": -0.01}, GateVerdict.BETTER)
SIZE = Finding.judged("size", "the package is too big", passed=False, figures={"package_mb": 200.0})
SILENT = NotJudged("latency", "no serving process was started")


@pytest.fixture
def further(tmp_path, monkeypatch):
    """Puts a module into the folder of the gates, as far as Python can tell."""
    monkeypatch.setattr(gates, "__path__", [*gates.__path__, str(tmp_path)])

    def add(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    return add


def test_every_module_of_the_folder_is_a_gate_and_they_are_asked_in_the_order_of_their_names():
    names = [gate.name for gate in gates.gates()]
    assert names == sorted(names)
    assert set(names) == {
        *("calibration", "fairness", "freshness", "latency", "leakage", "quality"),
        *("reproducibility", "schema", "size", "skew", "slices"),
    }


def test_a_further_gate_is_one_further_file(further, tmp_path):
    further(
        "weekday",
        "from perch.pipeline.record import Finding\n"
        "class Weekday:\n"
        "    name = 'weekday'\n"
        "    def check(self, case):\n"
        "        return Finding.judged(self.name, 'nobody releases on a Friday', passed=False)\n",
    )
    digest = write_tiny_package(tmp_path / "p")
    record = gates.ask(case(evaluation(TRUTH), package=tmp_path / "p", digest=digest))
    assert [finding.gate for finding in record.findings if not finding.passed] == ["weekday"]
    assert (record.accepted, record.reason) == (False, "nobody releases on a Friday: it is refused")


def test_a_module_without_a_gate_is_told(further):
    further("empty", "LIMIT = 3\n")
    with pytest.raises(TypeError, match=r"gates\.empty holds 0 classes with a method `check`"):
        gates.gates()


def test_a_candidate_that_every_gate_lets_pass_is_accepted_whatever_was_not_judged():
    record = Record.of([SILENT, QUALITY])
    assert (record.accepted, record.verdict, record.reason) == (True, GateVerdict.BETTER, "better")
    assert (record.difference.low, record.difference.high) == (-0.04, -0.01)
    assert record.not_judged == (SILENT,)


def test_one_gate_stops_a_better_model():
    record = Record.of([QUALITY, SIZE])
    assert (record.accepted, record.verdict) == (False, GateVerdict.BETTER)
    assert record.reason == "the package is too big: it is refused"


def test_the_comparison_with_the_champion_speaks_first_and_the_others_are_named():
    calibration = Finding.judged("calibration", "it boasts", passed=False)
    worse = replace(QUALITY, passed=False, sentence="worse", verdict=GateVerdict.WORSE)
    assert Record.of([calibration, worse, SIZE]).reason == "worse (refused by calibration, size, too)"


def test_a_record_comes_back_from_its_text(tmp_path):
    digest = write_tiny_package(tmp_path)
    champion = incumbent(evaluation(TRUTH), version=2)
    told = case(evaluation(MEAN), champion, incumbent(evaluation(MEAN)), package=tmp_path, digest=digest)
    for record in (Record.of([SILENT, QUALITY, SIZE]), gates.ask(told)):
        assert Record.from_json(record.to_json()) == record


def test_a_text_that_is_no_record_is_refused_in_a_sentence():
    with pytest.raises(ModelError, match="record cannot be read"):
        Record.from_json('{"findings": 1}')
