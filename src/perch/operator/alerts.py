"""The port at which Alertmanager tells the operator of alerts: `POST /v1/alerts`, with a bearer token.

An alert is acknowledged when the services that it concerns have remembered it, or acted on it. An operator that may not
write, or cannot, answers 503, and Alertmanager sends the notification again.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import uvicorn

from perch import asgi
from perch.asgi import Disconnected, Headers, Receive, Refusal, Scope, Send
from perch.errors import PerchError
from perch.freshness.watch import Watch
from perch.signals.alerts import BODY_LIMIT_BYTES, concerning, read_alerts

PATH: Final = "/v1/alerts"

Watches = Mapping[tuple[str, str], Watch]
"""By namespace and name of the service."""

_log = logging.getLogger(__name__)


class Alerts:
    """The ASGI application."""

    def __init__(self, token: str, watches: Watches, may_write: Callable[[], None]) -> None:
        """Make one.

        Args:
            token: The bearer token of whoever may tell alerts.
            watches: Those of all services that are run now.
            may_write: Raises `PlatformError` when another operator writes.
        """
        self._token = token
        self._watches = watches
        self._may_write = may_write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            heard = await self._answer(scope, receive)
            await asgi.reply(send, 200, msgspec.json.encode({"heard": heard}))
        except Refusal as refusal:
            await asgi.reply(send, refusal.status, msgspec.json.encode({"error": str(refusal)}))
        except (PerchError, OSError) as error:
            _log.warning("An alert was not taken on, and is sent again: %s", error)
            await asgi.reply(send, HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode({"error": str(error)}))
        except Disconnected:
            pass

    async def _answer(self, scope: Scope, receive: Receive) -> int:
        """How many alerts concerned services that are run here."""
        if (scope["method"], scope["path"]) != ("POST", PATH):
            raise Refusal(404, f"There is no {scope['method']} {scope['path']} here; there is POST {PATH}.")
        headers: Headers = dict(scope["headers"])
        asgi.require_token(headers, self._token)
        body = await asgi.read_body(receive, headers, BODY_LIMIT_BYTES)
        try:
            alerts = read_alerts(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"The body is no notification of Alertmanager's, version 4: {error}.") from None
        self._may_write()
        heard = 0
        for (namespace, name), watch in list(self._watches.items()):
            if own := concerning(alerts, name, watch.model, namespace):
                await watch.hear(own)
                heard += len(own)
        return heard


class _Server(uvicorn.Server):
    """A server that leaves the signals to the operator."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(app: Alerts, port: int) -> None:
    """Answer on all interfaces, for as long as the task lives."""
    anywhere = "0.0.0.0"  # noqa: S104  in a pod
    config = uvicorn.Config(app, anywhere, port, ws="none", lifespan="off", access_log=False, log_config=None)
    await _Server(config).serve()
