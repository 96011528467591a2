"""What the documentation names exists: links, anchors, verbs, flags, make targets, files and settings."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from markdown_blocks import PAGES, ROOT, anchors, blocks, named, prose
from perch.cli.app import app
from perch.settings import parse_declaration

every_page = pytest.mark.parametrize("page", PAGES, ids=named)

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = typer.main.get_command(app)


def _spoken(text, program):
    """Calls of a program in shell blocks and in inline code."""
    lines = [line for _, body in blocks(text, "bash", "text", "yaml") for line in body.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", prose(text))
    lines = [line.partition("#")[0].strip() for line in lines]
    return [line for line in lines if re.match(rf"{program}( |$)", line)]


@every_page
def test_every_relative_link_leads_to_a_file_and_its_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{named(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{target} has no such heading"


@every_page
def test_every_verb_and_flag_of_perch_exists(page):
    for line in _spoken(page.read_text(encoding="utf-8"), "perch"):
        command, words = COMMANDS, shlex.split(line)[1:]
        while words and hasattr(command, "commands"):
            verb = words.pop(0)
            if verb.startswith("-") or verb in {"verb", "VERB"}:
                break
            assert verb in command.commands, f"{named(page)} says `{line}`"
            command = command.commands[verb]
        flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        unknown = [word for word in words if word.startswith("-") and word not in flags]
        assert unknown == [], f"{named(page)} says `{line}`"


def test_every_verb_is_shown_in_use_outside_the_reference():
    guides = [page for page in PAGES if page.parent.name != "reference"]
    shown = {line for page in guides for line in _spoken(page.read_text(encoding="utf-8"), "perch")}
    groups = {verb: getattr(command, "commands", None) for verb, command in COMMANDS.commands.items()}
    verbs = [f"perch {verb}" for verb, inner in groups.items() if inner is None]
    verbs += [f"perch {group} {verb}" for group, inner in groups.items() for verb in inner or ()]
    assert [verb for verb in verbs if not any(line.startswith(verb) for line in shown)] == []


@every_page
def test_every_make_verb_is_a_target(page):
    for line in _spoken(page.read_text(encoding="utf-8"), "make"):
        targets = {word for word in line.split()[1:] if "=" not in word}
        assert targets <= TARGETS, f"{named(page)} says `{line}`"


@every_page
def test_every_json_and_yaml_block_can_be_read(page):
    for language, body in blocks(page.read_text(encoding="utf-8"), "json", "yaml"):
        content = json.loads(body) if language == "json" else yaml.safe_load(body)
        if language == "yaml":
            whole = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService"} | content
            parse_declaration(yaml.safe_dump(whole), source=named(page))


@every_page
def test_every_shell_block_is_one_that_a_shell_takes(page):
    for _, body in blocks(page.read_text(encoding="utf-8"), "bash"):
        checked = subprocess.run(["bash", "-n"], input=body, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), body


def test_every_python_block_of_the_docs_compiles():
    found = [body for page in PAGES for _, body in blocks(page.read_text(encoding="utf-8"), "python")]
    assert found
    for body in found:
        compile(body, "block", "exec")


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/how-to/bring-your-own-model.md"])
def test_every_module_that_is_named_exists(page):
    names = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)\b", prose((ROOT / page).read_text(encoding="utf-8")))
    known = [str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py")]
    known += [str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.py")]
    assert [name for name in names if not any(file.endswith(f"/{name}") for file in known)] == []


def test_the_folder_map_of_the_architecture_is_complete():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "src" / "perch").glob("*/__init__.py")}
    assert {folder for folder in folders if f"`{folder}/`" not in text} == set()


def test_the_layers_of_the_architecture_are_those_that_are_enforced():
    enforced = (ROOT / ".importlinter").read_text(encoding="utf-8").split("layers =\n")[1].split("\n\n")[0]
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Layers")[1]
    told = blocks(text, "text")[0][1]
    assert told.split() == enforced.replace("perch.", "").split()


def test_every_page_of_the_docs_can_be_reached_from_the_index():
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        queue += [page.parent / target for target in targets if not target.startswith("http")]
    assert [named(page) for page in PAGES if page.resolve() not in seen] == []


def test_no_page_names_a_path_of_somebodys_machine():
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", page.read_text(encoding="utf-8")), named(page)


def test_examples_are_bodies_that_the_schemas_know():
    from perch.serving.columns import Inputs
    from perch.workload.schema import CLICK_LOG, OPEN_BANDIT

    folder = Path(ROOT / "docs" / "examples")
    for name, schema in (("slate.json", CLICK_LOG), ("open-bandit-slate.json", OPEN_BANDIT)):
        slate = json.loads((folder / name).read_text(encoding="utf-8"))
        columns = Inputs(schema).from_rows([_floats(row) for row in slate["candidates"]], _floats(slate["context"]))
        assert len(columns[schema.inputs[0]]) == len(slate["candidates"])


def _floats(row):
    """As the server's typed decoder reads numbers."""
    return {name: float(value) if isinstance(value, int) else value for name, value in row.items()}
