"""Child processes: how they start, are watched, end, and what is told of it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from perch.errors import PlatformError
from perch.local import processes
from perch.local.processes import Child, ProcessId, check_port_free, free_port

IGNORES_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); {}"


@pytest.fixture
def child(tmp_path):
    """Starts Python programs; each is ended with the test."""
    started = []

    def start(program, **env):
        started.append(Child("The child", [sys.executable, "-c", program], tmp_path / "log" / "child.log", env))
        return started[-1]

    yield start
    for one in started:
        one.kill()


async def never():
    return False


def wait_for(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_is_awaited_until_it_is_ready(child):
    one = child("import time; print('on', flush=True); time.sleep(60)")

    async def ready():
        return b"on" in one.log.read_bytes()

    asyncio.run(one.wait_ready(ready, timeout_s=10))
    assert one.exit_code is None


def test_a_child_that_ends_first_is_quoted(child):
    one = child("print('all is well'); raise SystemExit('The disk is full.')")
    with pytest.raises(
        PlatformError, match=r"The child ended with exit code 1: The disk is full\. \(log: .*child\.log"
    ):
        asyncio.run(one.wait_ready(never, timeout_s=10))


def test_a_child_that_says_nothing_is_not_quoted(child):
    one = child("raise SystemExit(3)")
    with pytest.raises(PlatformError, match="ended with exit code 3: it said nothing"):
        asyncio.run(one.wait_ready(never, timeout_s=10))


def test_a_child_that_never_gets_ready_is_given_up(child):
    one = child("import time; time.sleep(60)")
    with pytest.raises(PlatformError, match=r"was not ready within 0\.2 s"):
        asyncio.run(one.wait_ready(never, timeout_s=0.2))


def test_a_child_that_obeys_is_not_killed(child):
    one = child("import time; time.sleep(60)")
    asyncio.run(one.stop())
    assert one.exit_code == -signal.SIGTERM
    asyncio.run(one.stop())


def test_a_child_that_ignores_the_request_is_killed(child):
    one = child(IGNORES_SIGTERM.format("time.sleep(60)"))
    wait_for(lambda: b"on" in one.log.read_bytes())
    asyncio.run(one.stop(grace_s=0.2))
    assert one.exit_code == -signal.SIGKILL


def test_a_child_gets_the_environment_on_top_of_ours(child, monkeypatch):
    monkeypatch.setenv("OURS", "1")
    one = child("import os; print(os.environ['OURS'], os.environ['ITS'])", ITS="2")
    wait_for(lambda: one.exit_code == 0)
    assert one.last_words().startswith("1 2 ")


def test_a_child_that_ended_is_started_again_but_not_at_once(child, monkeypatch):
    one = child("print('on', flush=True)")
    wait_for(lambda: one.exit_code is not None)
    assert one.revive() is None
    monkeypatch.setattr(processes, "_RESTART_PAUSE_S", 0.0)
    assert one.revive() == "The child ended with exit code 0 and is started again."
    wait_for(lambda: one.log.read_bytes() == b"on\non\n")


def test_how_a_child_was_killed_is_told_by_the_signals_name(child, monkeypatch):
    monkeypatch.setattr(processes, "_RESTART_PAUSE_S", 0.0)
    one = child("import time; time.sleep(60)")
    assert one.revive() is None
    one.kill()
    assert one.revive() == "The child was ended by SIGKILL and is started again."
    assert one.exit_code is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_children_die_with_their_parent_whatever_it_died_of(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from perch.local.processes import Child\n"
        f"child = Child('c', [sys.executable, '-c', 'import time; time.sleep(60)'], Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        orphan = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([orphan], timeout=5)[1] == []


def test_a_process_is_found_by_number_and_start_and_not_mistaken_for_a_later_one():
    me = ProcessId.of(os.getpid())
    assert me.find().pid == os.getpid()
    assert ProcessId(me.pid, me.started_s - 5).find() is None


def test_a_process_that_ended_is_not_found_not_even_as_a_zombie():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = ProcessId.of(process.pid)
    process.stdin.close()
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert known.find() is None
    process.wait()
    assert known.find() is None


def test_a_free_port_can_be_had():
    port = free_port()
    check_port_free(port, "the route", "spec.port")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_in_use_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError, match=f"Port {port} for the route cannot be had: .* with spec.port"):
            check_port_free(port, "the route", "spec.port")
