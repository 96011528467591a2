"""The command line: every verb explains itself, and a user's mistake is one sentence and an exit code."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from perch import errors
from perch.adapters.registry.memory import MemoryRegistry
from perch.cli import on_machine, serve
from perch.settings import load_declaration
from perch.world import Market
from service_world import World, registered

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

VERBS = [
    "init",
    "train",
    "models",
    "lineage",
    "serve",
    "up",
    "down",
    "status",
    "why",
    "break",
    "market",
    "loadtest",
    "demo",
    "doctor",
    "cluster",
    "rollout",
    "policy",
]
ROLLOUT_VERBS = ["start", "retry", "status", "history", "pause", "resume", "promote", "rollback"]
GROUPS = {"rollout": ROLLOUT_VERBS, "policy": ["backtest"], "cluster": ["up", "down", "footprint"]}


@pytest.fixture
def registry(monkeypatch):
    registry = MemoryRegistry()
    for module in (on_machine, serve):
        monkeypatch.setattr(module, "open_registry", lambda folder: registry)
    return registry


@pytest.mark.parametrize(
    "verb", [[verb] for verb in VERBS] + [[group, verb] for group, verbs in GROUPS.items() for verb in verbs]
)
def test_every_verb_explains_itself(perch, verb):
    code, said = perch(*verb, "--help")
    assert code == 0
    assert "Usage: perch " + " ".join(verb) in said


def test_without_a_verb_all_are_listed(perch):
    said = perch()[1]
    assert all(verb in said for verb in VERBS)


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from perch.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'mlflow', 'lightgbm', 'sklearn', 'pandas', 'bentoml', 'locust'} & set(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.strip() == "set()"


def test_a_table_that_no_terminal_shows_is_not_cut():
    program = (
        "from rich.table import Table; from perch.cli.options import console\n"
        "console.print(Table(*(f'column {number}' for number in range(100))))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert all(f"column {number}" in ended.stdout for number in range(100))


@pytest.mark.parametrize("arguments", [["fly"], ["up", "--height", "3"], ["rollout", "start", "--version", "two"]])
def test_what_no_verb_understands_is_a_usage_error(perch, arguments):
    code, said = perch(*arguments)
    assert code == errors.UsageError.exit_code
    assert "Usage" in said


def test_init_writes_a_declaration_that_is_accepted_and_overwrites_none(perch, tmp_path):
    assert perch("init") == (0, "Wrote perch.yaml. Next: perch train\n")
    assert load_declaration(tmp_path / "perch.yaml").name == "ads"
    code, said = perch("init")
    assert code == errors.UsageError.exit_code
    assert "perch.yaml is there already" in said


NEEDS_A_DECLARATION = [
    ["train"],
    ["models"],
    ["serve"],
    ["up"],
    ["loadtest"],
    ["market"],
    ["rollout", "start"],
    ["rollout", "retry"],
]


@pytest.mark.parametrize("verb", NEEDS_A_DECLARATION)
def test_a_missing_declaration_is_named(perch, verb, tmp_path):
    code, said = perch(*verb)
    assert code == errors.DeclarationError.exit_code
    assert said == "perch: There is no declaration at perch.yaml. Write one with `perch init`.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", NEEDS_A_DECLARATION)
def test_a_malformed_declaration_is_told_with_the_key(perch, verb, tmp_path):
    (tmp_path / "mine.yaml").write_text("apiVersion: perch.dev/v1alpha1\nkind: ModelService\nspec: {modle: x}\n")
    code, said = perch(*verb, "-f", "mine.yaml")
    assert code == errors.DeclarationError.exit_code
    assert "mine.yaml cannot be meant as it stands:\n  spec.modle: unknown key" in said


NEEDS_A_PLATFORM = [
    ["status"],
    ["loadtest"],
    ["market"],
    *(["rollout", verb] for verb in ROLLOUT_VERBS if verb not in {"start", "history"}),
]


@pytest.mark.parametrize("verb", [*NEEDS_A_PLATFORM, ["rollout", "start", "--version", "2"]])
def test_without_a_platform_the_way_to_start_one_is_told(perch, verb):
    perch("init")
    code, said = perch(*verb)
    assert code == errors.PlatformError.exit_code
    assert said == "perch: No platform is running here. Start one with `perch up`.\n"


def test_down_with_nothing_running_is_no_mistake(perch):
    assert perch("down") == (0, "Nothing was running.\n")


def test_a_rollout_needs_a_version(perch):
    perch("init")
    code, said = perch("rollout", "start")
    assert code == errors.UsageError.exit_code
    assert "No version is wanted" in said


def test_a_file_that_cannot_be_written_is_named_without_a_traceback(perch):
    code, said = perch("init", "-f", "no/such/folder/perch.yaml")
    assert code == errors.PlatformError.exit_code
    assert "No such file or directory: 'no/such/folder/perch.yaml'" in said


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("error", ERRORS)
def test_each_class_of_error_has_its_exit_code(perch, monkeypatch, error):
    def refuse(*_):
        raise error("It cannot be done. Do something else.")

    monkeypatch.setattr("perch.cli.why.tell_story", refuse)
    assert perch("why") == (error.exit_code, "perch: It cannot be done. Do something else.\n")


def test_the_exit_codes_tell_the_classes_apart():
    assert len({kind.exit_code for kind in ERRORS}) == len(ERRORS)


def test_ctrl_c_is_no_error_of_anybodys(perch, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("perch.cli.why.tell_story", interrupt)
    assert perch("why") == (130, "")


# --- training ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log():
    return Market(1).log(7, 20_000)


def parquet(name, change):
    def write(log, folder):
        change(log).to_parquet(folder / name)
        return name

    return write


def text(content):
    def write(log, folder):
        (folder / "log").write_text(content)
        return "log"

    return write


@pytest.mark.parametrize(
    ("write", "layout", "says"),
    [
        (lambda log, folder: "nowhere", "parquet", "nowhere does not exist"),
        (text("1,2\n"), "libsvm", "choose one of open-bandit, criteo, avazu, parquet"),
        (text(""), "avazu", "log is empty"),
        (text("id,click\n1,0\n"), "avazu", "log has no column hour"),
        (text("no parquet"), "parquet", "not a readable Parquet file"),
        (parquet("log", lambda log: log.iloc[:0]), "parquet", "log has no rows"),
        (parquet("log", lambda log: log.drop(columns="ad_id")), "parquet", "log has no column ad_id"),
        (parquet("log", lambda log: log.assign(price=float("nan"))), "parquet", "price"),
        (parquet("log", lambda log: log.assign(click=0)), "parquet", "no clicks at all"),
        (parquet("log", lambda log: log.assign(price="dear")), "parquet", "wrong type"),
    ],
)
def test_a_log_that_cannot_be_used_is_told_and_registers_nothing(perch, registry, log, write, layout, says):
    perch("init")
    code, said = perch("train", "--data", write(log, Path.cwd()), "--format", layout)
    assert code == errors.DataError.exit_code
    assert says in said
    assert registry.versions("ad-clicks") == []


def test_a_format_without_a_log_is_a_usage_error(perch, registry):
    perch("init")
    code, said = perch("train", "--format", "avazu")
    assert code == errors.UsageError.exit_code
    assert "--data" in said


def test_training_tells_what_came_of_it_and_what_is_next(perch, registry, log, tmp_path):
    perch("init")
    log.to_parquet(tmp_path / "log.parquet")
    code, said = perch("train", "--data", "log.parquet")
    assert code == 0
    assert "The gates say: cannot tell the models apart" in said
    assert said.rstrip().endswith("Next: perch up")
    registry.quarantine("ad-clicks", 2, "It failed 5 % of its requests.")
    listed = perch("models")[1]
    assert "baseline, champion" in listed
    assert "in quarantine: It failed 5 % of its requests." in listed


def test_without_versions_the_list_says_how_to_get_one(perch, registry):
    perch("init")
    assert "perch train" in perch("models")[1]


# --- serving and stories -------------------------------------------------------------------------------------------


def test_serving_needs_a_champion_or_a_version_that_exists(perch, registry):
    perch("init")
    code, said = perch("serve")
    assert code == errors.RegistryError.exit_code
    assert "No version of ad-clicks is the champion" in said
    code, said = perch("serve", "--version", "7")
    assert code == errors.RegistryError.exit_code
    assert "no version 7" in said


def test_a_port_in_use_is_told_with_the_option(perch, registry):
    perch("init")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = perch("serve", "--port", str(taken.getsockname()[1]))
    assert code == errors.PlatformError.exit_code
    assert "--port" in said


@pytest.fixture
def told(tmp_path):
    registry = registered(tmp_path, 1, 2)
    with World(registry, tmp_path / ".perch") as world:
        world.release(2)
        world.tick()


def test_the_last_story_is_told_without_a_name(perch, told):
    code, said = perch("why")
    assert code == 0
    assert said.startswith("Rollout v2-1: version 2 asks to replace champion 1")
    assert perch("why", "v2-1") == (code, said)


def test_an_unknown_rollout_is_told_with_the_known_ones(perch, told):
    code, said = perch("why", "v9-1")
    assert code == errors.UsageError.exit_code
    assert said == "perch: There is no rollout v9-1. Recorded, oldest first: v2-1.\n"


def test_without_any_rollout_there_is_no_story(perch):
    code, said = perch("why")
    assert code == errors.UsageError.exit_code
    assert "perch rollout start" in said


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp"])
def test_a_run_of_the_demonstration_is_a_folder_of_its_own(perch, name, tmp_path):
    code, said = perch("demo", "--name", name)
    assert code == errors.UsageError.exit_code
    assert "cannot be a run's name" in said
    assert list(tmp_path.iterdir()) == []
