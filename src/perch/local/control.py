"""The control server of the local platform: what `perch status`, `perch rollout` and their like talk to.

Loopback only, and every request carries the platform's token.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec
from pydantic.alias_generators import to_camel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perch.core.codec import dumps
from perch.core.types import Command
from perch.errors import DeclarationError, PerchError, PlatformError, UsageError
from perch.freshness.watch import Watch
from perch.local.platform import Platform
from perch.settings import ModelService, Spec, parse_declaration
from perch.signals import exposition
from perch.signals.alerts import concerning, read_alerts

Endpoint = Callable[[Request], Awaitable[Response]]


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """The wish to roll a version out, or to try the last one again."""

    declaration: str
    """The declaration's text: the policy and, but for a retry, the wanted version."""

    override: bool = False
    """Release the version even when it is in quarantine, and after too many rollbacks."""


class Retraining(msgspec.Struct, forbid_unknown_fields=True):
    """A person's wish for a run."""

    override: bool = False
    """Also in the cool-down."""


def control_app(platform: Platform, clock: Callable[[], float]) -> Starlette:
    """The control server of `platform`; answers errors as `{"error": sentence, "exit_code": n}`."""

    async def status(_: Request) -> Response:
        return JSONResponse(_status(platform))

    async def release(request: Request) -> Response:
        spec, override = await _wish(request, platform.declaration)
        if spec.version is None:
            raise UsageError("The declaration wants no version: write it as spec.version.")
        name = await platform.service.release(spec.version, spec.policy, clock(), override=override)
        return JSONResponse({"rollout": name})

    async def retry(request: Request) -> Response:
        spec, override = await _wish(request, platform.declaration)
        name = await platform.service.retry(spec.policy, clock(), override=override)
        return JSONResponse({"rollout": name, "retry_of": platform.service.status().retry_of})

    async def retrain(request: Request) -> Response:
        watch = _watch(platform)
        watch.wish(override=msgspec.json.decode(await request.body(), type=Retraining).override)
        await watch.look()
        return JSONResponse({"sentence": watch.remembered.state.sentence}, status_code=202)

    async def alerts(request: Request) -> Response:
        heard = concerning(
            read_alerts(await request.body()), platform.declaration.name, platform.declaration.spec.model
        )
        await _watch(platform).hear(heard)
        return JSONResponse({"heard": len(heard)})

    async def command(request: Request) -> Response:
        platform.service.command(_command(request.path_params["command"]))
        return JSONResponse(_status(platform), status_code=202)

    async def metrics(_: Request) -> Response:
        return Response(platform.meters.page(), media_type=exposition.CONTENT_TYPE.decode())

    def guarded(endpoint: Endpoint) -> Endpoint:
        return _guarded(endpoint, platform.token)

    return Starlette(
        routes=[
            Route("/metrics", metrics),  # counts only, which need no token in a cluster either
            Route("/status", guarded(status)),
            Route("/freshness", guarded(_telling(lambda: _watch(platform).remembered))),
            Route("/drift", guarded(_telling(lambda: platform.drift.remembered))),
            Route("/retrain", guarded(retrain), methods=["POST"]),
            Route("/alerts", _guarded(alerts, platform.alerts_token), methods=["POST"]),
            Route("/rollout", guarded(release), methods=["POST"]),
            Route("/rollout/retry", guarded(retry), methods=["POST"]),
            Route("/rollout/{command}", guarded(command), methods=["POST"]),
        ]
    )


def _telling(remembered: Callable[[], object]) -> Endpoint:
    """An endpoint that tells what a watch remembers."""

    async def tell(_: Request) -> Response:
        return Response(dumps(remembered()), media_type="application/json")

    return tell


def _guarded(endpoint: Endpoint, token: str) -> Endpoint:
    """The endpoint for those who know the token, with its errors as answers."""

    async def checked(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not (given and secrets.compare_digest(given.encode(), token.encode())):
            return JSONResponse({"error": "This needs the platform's token.", "exit_code": 1}, status_code=401)
        try:
            return await endpoint(request)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return JSONResponse({"error": f"The request is malformed: {error}.", "exit_code": 2}, status_code=400)
        except PerchError as error:
            return JSONResponse({"error": str(error), "exit_code": error.exit_code}, status_code=409)

    return checked


async def _wish(request: Request, running: ModelService) -> tuple[Spec, bool]:
    """What is declared now, and whether a person insists."""
    wish = msgspec.json.decode(await request.body(), type=Release)
    wanted = parse_declaration(wish.declaration, source="The declaration")
    _check_fixed(running, wanted)
    return wanted.spec, wish.override


def _check_fixed(running: ModelService, wanted: ModelService) -> None:
    """Refuse a declaration that was edited where a running platform cannot follow; ignoring it would be worse."""
    keys = ("model", "baseline", "slo", "attribution_window_s", "events")
    changed = [f"spec.{to_camel(key)}" for key in keys if getattr(running.spec, key) != getattr(wanted.spec, key)]
    if changed:
        raise DeclarationError(
            f"The declaration is not the one that the platform was started with: {', '.join(changed)} changed. Only "
            "the version, the policy and the load may change meanwhile. Set it back, or restart: perch down, perch up."
        )


def _watch(platform: Platform) -> Watch:
    if platform.freshness is None:
        raise PlatformError("Nobody watches over the age of the model here.")
    return platform.freshness


def _status(platform: Platform) -> dict[str, Any]:
    """What `Status` says, and where everything is reached."""
    return asdict(platform.service.status()) | {
        "route": platform.route_url,
        "collector": platform.collector_url,
        "versions": {str(version): address for version, address in platform.fleet.endpoints().items()},
    }


def _command(name: str) -> Command:
    if name not in set(Command):
        raise UsageError(f"There is no command {name!r}. Known: {', '.join(Command)}.")
    return Command(name)
