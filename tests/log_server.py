"""A server that hands files out as a web server does, and as an object store does, and fails as both do."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMPTY_LISTING = b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>'


class LogServer(ThreadingHTTPServer):
    """What its attributes say is what it does."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.redirects = {}
        self.status = None
        """Answers every request with this status."""
        self.cut_after = None
        """Closes the connection after so many bytes of a body."""
        self.hang_after = None
        """Sends nothing more after so many bytes of a body; -1: not even a head."""
        self.is_stamped = True
        self.seen = []
        """Authorization of each request."""
        self.after_get = lambda: None
        """Called when a body is sent."""
        self.over = threading.Event()

    def handle_error(self, request, client_address):
        """Clients that go away are what is tested."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        server, path = self.server, self.path.partition("?")[0]
        server.seen.append(self.headers.get("authorization"))
        if server.hang_after == -1:
            server.over.wait()
        if server.status is not None:
            self._send(server.status, b"")
        elif path in server.redirects:
            self._send(302, b"", location=server.redirects[path])
        elif path in server.files:
            self._send_file(server.files[path])
        elif "list-type=2" in self.path:
            self._send(200, EMPTY_LISTING, content_type="application/xml")
        else:
            self._send(404, b"")

    def _send_file(self, content):
        stamp = {"etag": f'"{hashlib.md5(content).hexdigest()}"'} if self.server.is_stamped else {}
        wanted = self.headers.get("range", "").removeprefix("bytes=")
        if wanted:
            first, last = (int(number) for number in wanted.split("-"))
            part = content[first : last + 1]
            self._send(206, part, content_range=f"bytes {first}-{last}/{len(content)}", **stamp)
        else:
            self._send(200, content, **stamp)

    def _send(self, status, body, **headers):
        server = self.server
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        stop = server.cut_after if server.cut_after is not None else server.hang_after
        self.wfile.write(body[:stop])
        self.wfile.flush()
        if server.hang_after is not None and body:
            server.over.wait()
        if server.cut_after is not None or server.hang_after is not None:
            self.close_connection = True
        if body:
            server.after_get()


@contextmanager
def log_server() -> Iterator[LogServer]:
    server = LogServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
