"""What a webhook is told by a real platform, also when nobody answers there at first."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from markdown_blocks import ROOT, blocks
from perch.adapters.notify.message import KEY, SIGNATURE, TIMESTAMP, URL
from perch.local.store import open_registry
from perch.settings import ModelService, Spec, to_yaml
from serving_process import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PERCH = str(Path(sys.executable).parent / "perch")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted to it, by time, signature and body."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append((self.headers[TIMESTAMP], self.headers[SIGNATURE], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def receiving(port):
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        server.posted = []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.posted
        finally:
            server.shutdown()
            thread.join()


def ended(posted):
    """What says that the rollout has ended."""
    told = [json.loads(body) for _, _, body in posted]
    return [one for one in told if one["text"].startswith("Rollout v2-1 has ended.")]


@pytest.fixture
def platform(trained, tmp_path, monkeypatch):
    """A platform that tells a webhook at which nobody listens; runs commands in its folder. And the webhook's port."""
    port = free_port()
    monkeypatch.setenv(URL, f"http://127.0.0.1:{port}/hook")
    monkeypatch.setenv(KEY, "secret")
    monkeypatch.chdir(tmp_path)
    Path("perch.yaml").write_text(to_yaml(ModelService(spec=Spec(port=free_port()))))
    trained(open_registry(tmp_path / ".perch"))

    def perch(*words):
        done = subprocess.run([PERCH, *words], capture_output=True, text=True, check=False, env=os.environ, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    perch("up")
    yield perch, port
    perch("down")


def test_a_rollback_is_posted_once_and_signed_as_soon_as_somebody_listens(platform):
    perch, port = platform
    perch("rollout", "start", "--version", "2")
    perch("rollout", "rollback")
    time.sleep(3)  # it is posted, and nobody is there
    with receiving(port) as posted:
        deadline = time.monotonic() + 60
        while not ended(posted) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(5)
    (told,) = ended(posted)
    assert told["service"] == "ads"
    assert "a person asked for it" in told["text"]

    guide = {}
    (check,) = [body for _, body in blocks((ROOT / "docs/how-to/be-told.md").read_text(encoding="utf-8"), "python")]
    exec(check, guide)  # what the guide tells a receiver to do
    for timestamp, signature, body in posted:
        assert guide["is_from_perch"](b"secret", timestamp, signature, body)
        assert not guide["is_from_perch"](b"another", timestamp, signature, body)
