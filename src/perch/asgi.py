"""What every HTTP server of Perch shares: reading a body within bounds, answering, checking a token, and running.

The servers are raw ASGI callables, because a framework costs a request more than a light model does. These few
functions are all they need.
"""

import asyncio
import hashlib
import hmac
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from perch.errors import PlatformError, UsageError

if TYPE_CHECKING:
    import uvicorn

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Mapping[bytes, bytes]

KEEP_ALIVE_S = 300
"""Longer than a proxy keeps idle connections, so that it is never we who close one that is about to be used."""

DRAIN_S = 5
"""Time that requests in flight have to finish after SIGTERM, in seconds."""

JSON = b"application/json"

_TOKEN_WAIT_S = 60.0
_TOKEN_LOOK_S = 1.0

_NOTHING: AbstractAsyncContextManager[object] = nullcontext()


class Refusal(Exception):  # noqa: N818 - the caller's mistake, not an error of ours
    """A request that is answered with a 4xx status and one sentence for the caller."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Disconnected(Exception):  # noqa: N818 - nobody is left to be told
    """The client went away before its request was complete."""


def port(scope: Scope) -> int | None:
    """The port of ours that a request came to; `None`: not known."""
    server: tuple[str, int | None] | None = scope.get("server")
    return None if server is None else server[1]


async def read_body(receive: Receive, headers: Headers, limit_bytes: int, timeout_s: float = 10.0) -> bytes:
    """The whole body of a request.

    Raises:
        Refusal: 413 above `limit_bytes`, whether announced or chunked; 408 when it takes longer than `timeout_s`.
        Disconnected: the client went away.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            return await _join(receive, limit_bytes)
    except TimeoutError:
        raise Refusal(408, f"The body did not arrive within {timeout_s:g} s; send it again.") from None


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, f"The body is larger than {limit_bytes:,} bytes; send fewer rows in a request.")


async def _join(receive: Receive, limit_bytes: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk: bytes = message["body"]
        body = body + chunk if body else chunk
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        if not message["more_body"]:
            return body


async def reply(
    send: Send, status: int, body: bytes, content_type: bytes = JSON, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer a request with a complete body."""
    fields = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        UsageError: the file cannot be read or is empty.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"The token file {path} cannot be read ({error.strerror}); name a file with a token."
        ) from None
    if not token:
        raise UsageError(f"The token file {path} is empty; write a random token into it.")
    return token


def await_token(path: Path) -> str:
    """The bearer token in a file, as soon as who makes it has, for a minute.

    Raises:
        UsageError: the file cannot be read or is empty.
    """
    deadline_s = time.monotonic() + _TOKEN_WAIT_S
    while time.monotonic() < deadline_s:
        with suppress(UsageError):
            return read_token(path)
        time.sleep(_TOKEN_LOOK_S)
    return read_token(path)


def keep_token(path: Path) -> Path:
    """Make a random token when the file has none yet, readable by its owner only; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        draft = path.with_suffix(".tmp")
        draft.touch(mode=0o600)
        draft.write_text(new_token(), encoding="utf-8")
        draft.replace(path)
    return path


def new_token() -> str:
    """A bearer token that nobody guesses: 256 random bits, as text."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """SHA-256 of a token, in hex. Who knows it can check the token, and not make it."""
    return hashlib.sha256(token.encode()).hexdigest()


def require_token(headers: Headers, token: str) -> None:
    """Let only a caller pass who knows the token; compared in constant time.

    Raises:
        Refusal: 401, the request has no or another token.
    """
    require_digest(headers, digest(token))


def require_digest(headers: Headers, wanted: str) -> None:
    """The same, by one who knows only the token's digest."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme != b"Bearer" or not hmac.compare_digest(hashlib.sha256(given).hexdigest(), wanted):
        raise Refusal(401, "This needs the header `Authorization: Bearer TOKEN`, with the token of the server's file.")


def run(app: App, host: str, *ports: int, name: str, beside: AbstractAsyncContextManager[object] = _NOTHING) -> None:
    """Serve an application until SIGTERM or SIGINT, then let requests in flight finish.

    Args:
        app: What is served.
        host: Address to listen on.
        ports: Ports to listen on.
        name: What is served, in a person's words.
        beside: Entered before the first request, left after the last one.

    Raises:
        PlatformError: a port is taken, or the application did not start.
    """
    # Servers are not needed by those who only use the functions above.
    import uvicorn
    import uvloop

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = uvicorn.Server(config)
    with ExitStack() as stack:
        listeners = [stack.enter_context(_bind(host, port, name)) for port in ports]
        stack.enter_context(_ignored(signal.SIGTERM, signal.SIGINT))
        stack.enter_context(suppress(SystemExit))  # uvicorn's way to say it failed
        uvloop.run(_serve(server, listeners, beside))
    if not server.started:
        raise PlatformError(f"{name} did not start; the lines above say why.")


@contextmanager
def _ignored(*numbers: signal.Signals) -> Iterator[None]:
    """After draining, uvicorn raises the signal again. But a drained server has ended well, and exits with 0."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(
    server: "uvicorn.Server", listeners: list[socket.socket], beside: AbstractAsyncContextManager[object]
) -> None:
    async with beside:
        await server.serve(sockets=listeners)


def _bind(host: str, port: int, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PlatformError(
            f"{name} cannot listen on {host}:{port} ({error.strerror}); stop what is using it or choose another --port."
        ) from None
    return listener
