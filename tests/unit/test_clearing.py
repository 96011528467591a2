"""What steps handed on is removed after days, and nothing else is."""

import json
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from perch.errors import PlatformError
from perch.workflows.clearing import ARTIFACTS, clear

TODAY = date(2026, 11, 21)
FOLDERS = ["2026-11-12", "2026-11-13", "2026-11-14", "2026-11-21", "keep-me"]


@pytest.fixture
def store(monkeypatch):
    """A store that lists `FOLDERS`; gives what was asked of it."""
    asked = []

    class Store(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            files = [{"path": f"workflows/shop/{name}", "is_dir": True} for name in FOLDERS]
            self._answer(json.dumps({"files": files}).encode())

        def do_DELETE(self):
            asked.append(self.path)
            self._answer(b"{}")

        def _answer(self, body):
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(ARTIFACTS, f"http://127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()
        thread.join()


def test_what_is_older_than_a_week_is_removed(store):
    assert clear("shop", TODAY) == ["2026-11-12", "2026-11-13"]
    base = "/api/2.0/mlflow-artifacts/artifacts"
    assert store == [f"{base}?path=workflows%2Fshop", *(f"{base}/workflows/shop/{name}" for name in FOLDERS[:2])]


def test_where_steps_hand_on_elsewhere_nothing_is_removed(monkeypatch):
    monkeypatch.delenv(ARTIFACTS, raising=False)
    assert clear("shop", TODAY) == []


def test_a_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv(ARTIFACTS, "http://127.0.0.1:9")
    with pytest.raises(PlatformError, match=r"Old artifacts stay: the store fails with ConnectError"):
        clear("shop", TODAY)
