"""The dashboards in the chart are those of the code."""

from dashboards.__main__ import files

from markdown_blocks import ROOT

FOLDER = ROOT / "charts" / "perch" / "files" / "dashboards"


def test_the_chart_has_what_the_code_writes():
    assert files() == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}, "make render"
