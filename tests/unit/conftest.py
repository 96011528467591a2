"""What the tests of the command line share."""

import sys

import pytest

from perch import cli
from perch.cli.options import console


@pytest.fixture
def perch(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder; gives its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 200)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["perch", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out + said.err

    return run
