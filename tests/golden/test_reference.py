"""The reference says what the code says: its generated blocks are compared with a fresh run of the generator."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from perch.core.policy import Policy
from perch.rollout.ledger import Ledger

DOCS = Path(__file__).parents[2] / "docs"


def _generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
PAGES = dict(generate.pages())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_the_reference_is_what_the_generator_writes(page):
    assert page.read_text(encoding="utf-8") == PAGES[page], f"{page.name} is out of date: python docs/generate.py"


def test_every_generated_block_stands_on_a_page():
    written = "".join(PAGES.values())
    assert [name for name in generate.BLOCKS if f"<!-- generated: {name} -->" not in written] == []


def test_no_setting_of_the_policy_lacks_a_meaning():
    assert generate.docstrings(Policy).keys() == set(Policy.__dataclass_fields__)
    rows = generate.declaration().splitlines()
    assert all(row.split(" | ")[-1].strip(" |") for row in rows)


def test_the_ledgers_kinds_of_entries_are_those_that_are_written():
    written = re.findall(r'_append\("(\w+)"', inspect.getsource(Ledger))
    rows = (DOCS / "reference" / "ledger.md").read_text(encoding="utf-8").split("| kind |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) == written


def test_a_range_in_the_reference_is_the_one_that_is_enforced():
    row = next(line for line in generate.declaration().splitlines() if "`spec.policy.alpha`" in line)
    assert "to 0.5 probability" in row
    with pytest.raises(ValueError, match="alpha"):
        Policy(alpha=0.51)
