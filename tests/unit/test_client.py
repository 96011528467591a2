"""How commands find a platform, start one and end one; the platform is a small program in its place."""

import fcntl
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from perch.errors import ModelError, PerchError, PlatformError
from perch.local import client
from perch.local.client import connect, start, stop
from perch.local.daemon import RECORD, Record, read_record, write_record
from perch.local.processes import ProcessId

DEAD = ProcessId(2**22 - 7, 1.0)
URL = "http://127.0.0.1:8080"


def record(platform=DEAD, children=(), control_port=1):
    return Record(platform, children, control_port, URL, None)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / ".perch"
    folder.mkdir()
    (folder / "token").write_text("a-token")
    return folder


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@contextmanager
def platform(folder, status, body):
    """A control server that always says the same."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.command, self.path, self.headers["authorization"]))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        write_record(record(ProcessId.of(os.getpid()), control_port=server.server_address[1]), folder)
        yield heard
        server.shutdown()


def test_a_record_reads_back_the_same(folder):
    for known in (record(), replace(record(), children=(DEAD, DEAD), mlflow_url="http://127.0.0.1:5000")):
        write_record(known, folder)
        assert read_record(folder) == known
    assert not list(folder.glob("*.tmp"))


def test_no_record_means_that_nothing_was_started(tmp_path):
    assert read_record(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"platform": 3}', json.dumps({"platform": {"pid": 1}})])
def test_a_record_that_cannot_be_read_is_named(folder, text):
    (folder / RECORD).write_text(text)
    with pytest.raises(PlatformError, match=r"platform\.json does not say what runs"):
        connect(folder)


def test_without_a_platform_there_is_nobody_to_talk_to(folder):
    with pytest.raises(PlatformError, match=r"No platform is running here.*perch up"):
        connect(folder)


def test_a_platform_that_has_died_is_said_so_with_its_last_words(folder):
    write_record(record(), folder)
    with pytest.raises(PlatformError, match=r"has died.*perch up.*is gone"):
        connect(folder)
    (folder / "log").mkdir()
    (folder / "log" / "platform.log").write_text("12:00:00 Serving.\n12:00:01 The disk is full.\n\n")
    with pytest.raises(PlatformError, match=r"has died\..*: The disk is full\. \(log: "):
        connect(folder)


def test_a_platform_that_is_still_starting_asks_for_patience(folder):
    write_record(record(ProcessId.of(os.getpid()), control_port=0), folder)
    with pytest.raises(PlatformError, match="still starting"):
        connect(folder)


def test_requests_carry_the_token(folder):
    with platform(folder, 200, b'{"rollout": "v2-1"}') as heard:
        assert connect(folder).release("spec: {}", override=False) == "v2-1"
        connect(folder).command("pause")
        connect(folder).status()
    assert heard == [
        ("POST", "/rollout", "Bearer a-token"),
        ("POST", "/rollout/pause", "Bearer a-token"),
        ("GET", "/status", "Bearer a-token"),
    ]


def test_a_refusal_keeps_its_sentence_and_its_class(folder):
    says = b'{"error": "Version 3 is in quarantine.", "exit_code": 8}'
    with platform(folder, 409, says), pytest.raises(PerchError, match=r"Version 3 is in quarantine\.") as refused:
        connect(folder).status()
    assert refused.value.exit_code == 8


@pytest.mark.parametrize("body", [b"Internal Server Error", b""])
def test_an_answer_that_is_none_is_the_platforms_fault(folder, body):
    with platform(folder, 500, body), pytest.raises(PlatformError, match="does not answer"):
        connect(folder).status()


def test_a_platform_that_hung_up_is_said_so(folder):
    with platform(folder, 200, b"{}"):
        control = connect(folder)
    with pytest.raises(PlatformError, match=r"does not answer.*perch down, perch up"):
        control.status()


def test_stopping_ends_what_is_recorded_and_forgets_it(folder, sleeper):
    write_record(record(DEAD, children=(ProcessId.of(sleeper.pid),)), folder)
    assert stop(folder)
    assert not psutil.pid_exists(sleeper.pid)
    assert read_record(folder) is None
    assert not stop(folder)


def test_stopping_spares_a_later_process_with_the_same_number(folder, sleeper):
    mistaken = ProcessId(sleeper.pid, psutil.Process(sleeper.pid).create_time() - 100)
    write_record(record(mistaken, children=(mistaken,)), folder)
    assert not stop(folder)
    assert sleeper.poll() is None


# --- starting: the program in the platform's place is named by its module ------------------------------------------


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Puts a program in the platform's place."""
    started = []

    def put(text):
        path = tmp_path / "program.py"
        path.write_text("import os, sys, time\nfrom pathlib import Path\n" + text)
        real = subprocess.Popen

        def popen(command, **options):
            started.append(real([command[0], str(path), *command[3:]], **options))
            return started[-1]

        monkeypatch.setattr(client.subprocess, "Popen", popen)

    yield put
    for process in started:
        process.kill()
        process.wait()


SERVES = """
from perch.local.daemon import Record, write_record
from perch.local.processes import ProcessId
write_record(Record(ProcessId.of(os.getpid()), (), 4321, "http://127.0.0.1:8080", None), Path(sys.argv[4]))
print("12:00:00 Serving.", flush=True)
time.sleep(60)
"""


def begin(folder, progress=lambda _: None):
    return start(Path("perch.yaml"), folder, [], progress)


def test_a_platform_that_serves_is_recorded_and_stays(folder, program):
    program(SERVES)
    started = begin(folder)
    assert started.control_port == 4321
    assert started.platform.find() is not None
    with pytest.raises(PlatformError, match=f"running already at {URL}"):
        begin(folder)
    assert stop(folder)
    assert started.platform.find() is None


@pytest.mark.parametrize(
    ("says", "exit_code", "quoted"),
    [
        ("12:00:00 model.txt is corrupt.", ModelError.exit_code, "model.txt is corrupt."),
        ("Traceback\\nKeyError: 'x'", 1, "KeyError: 'x'"),
        ("", 7, "It said nothing."),
    ],
)
def test_a_platform_that_does_not_start_is_quoted_with_its_exit_code(folder, program, says, exit_code, quoted):
    (folder / "log").mkdir()
    (folder / "log" / "platform.log").write_text("12:00:00 An older story.\n")
    program(f"print({says!r}.replace(chr(92) + 'n', chr(10))); sys.exit({exit_code})")
    with pytest.raises(PerchError) as refused:
        begin(folder)
    assert str(refused.value).startswith(f"The platform did not start. {quoted} (log: ")
    assert refused.value.exit_code == exit_code
    assert "An older story." in (folder / "log" / "platform.log").read_text()


def test_a_platform_that_is_killed_while_starting_is_the_platforms_fault(folder, program):
    program("os.kill(os.getpid(), 9)")
    with pytest.raises(PerchError) as refused:
        begin(folder)
    assert refused.value.exit_code == PlatformError.exit_code


def interrupted_start(folder, program):
    """Press Ctrl-C as soon as the platform runs; its process."""
    pid_file = folder / "pid"
    program(f"Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)")

    def press(_):
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(folder, press)
    return int(pid_file.read_text())


def test_ctrl_c_ends_the_platform_that_was_starting(folder, program):
    assert not psutil.pid_exists(interrupted_start(folder, program))


def test_a_platform_that_takes_too_long_is_given_up_and_ended(folder, program, monkeypatch):
    monkeypatch.setattr(client, "_START_TIMEOUT_S", 0.3)
    program("time.sleep(60)")
    with pytest.raises(PlatformError, match=r"not ready within 0 s.*platform\.log"):
        begin(folder)
    with (folder / "claim").open("ab") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nobody_else_starts_one_meanwhile(folder, program):
    program(SERVES)
    with (folder / "claim").open("ab") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        with pytest.raises(PlatformError, match="being started or ended"):
            begin(folder)
    assert read_record(folder) is None


def test_what_a_dead_platform_left_behind_is_ended_before_the_next_starts(folder, program, sleeper):
    write_record(record(DEAD, children=(ProcessId.of(sleeper.pid),)), folder)
    program(SERVES)
    begin(folder)
    assert not psutil.pid_exists(sleeper.pid)
