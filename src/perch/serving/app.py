"""The ASGI application of a serving process: the routes that are answered here, before BentoML's."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from perch import asgi
from perch.asgi import App, Headers, Receive, Refusal, Scope, Send
from perch.serving import inference
from perch.serving.columns import Inputs
from perch.serving.explain import Explain
from perch.serving.faults import Faults, FaultSwitch
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Answer, Identity, Parse, Question
from perch.serving.rows import Predict, Rank, decode
from perch.signals import exposition, names
from perch.signals.events import SHADOW
from perch.workload.attribution import Attributor
from perch.workload.schema import Schema

_FAULTS_LIMIT_BYTES = 10_000

_faults = msgspec.json.Decoder(Faults)


class Application:
    """Routes by the exact path, one look into a table; what is not in it goes to BentoML's application."""

    def __init__(
        self,
        identity: Identity,
        schema: Schema,
        predictor: Predictor,
        meters: Meters,
        switch: FaultSwitch,
        *,
        fault_token: str | None,
        rest: App,
        attributor: Attributor | None = None,
    ) -> None:
        """Put the application together.

        Args:
            identity: What is served.
            schema: The model's inputs.
            predictor: Answers requests for predictions.
            meters: What `/metrics` shows.
            switch: What `/faults` switches.
            fault_token: The bearer token that may switch faults; `None` refuses it to everybody.
            rest: Answers the other routes, and follows the server's life.
            attributor: Says what inputs add to a score; `None`: the model cannot tell.
        """
        inputs = Inputs(schema)
        self._identity = identity
        self._predictor = predictor
        self._meters = meters
        self._switch = switch
        self._fault_token = fault_token
        self._rest = rest
        self._explain = Explain(identity, inputs, switch, attributor)
        self._questions = _questions(inputs, identity)
        self._pages = _pages(inputs, identity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] != "http":
            return await self._rest(scope, receive, send)
        path: str = scope["path"]
        parse = self._questions.get(path)
        if parse is not None and scope["method"] == "POST":
            return await self._predictor(parse, scope, receive, send)
        return await self._seldom(path, scope, receive, send)

    async def _seldom(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The routes that do not have to be quick."""
        known = path in self._pages or path in self._explain.paths
        if scope["method"] == "POST" and path.startswith(("/v1/", "/v2/")) and not known:
            return await self._predictor(self._unknown(path), scope, receive, send)
        try:
            page = await self._page(path, scope, receive)
        except Refusal as refusal:
            return await asgi.reply(send, refusal.status, msgspec.json.encode({"error": str(refusal)}))
        if page is None:
            return await self._rest(scope, receive, send)
        return await asgi.reply(send, HTTPStatus.OK, page.body, page.content_type, page.headers)

    async def _page(self, path: str, scope: Scope, receive: Receive) -> Answer | None:
        method: str = scope["method"]
        if path == "/metrics":
            return Answer(self._meters.render(), content_type=exposition.CONTENT_TYPE)
        if path == names.INPUTS_PATH:
            return Answer(self._meters.render_inputs(), content_type=exposition.CONTENT_TYPE)
        if path == "/faults":
            if method == "PUT":
                await self._set_faults(dict(scope["headers"]), receive)
            return Answer(msgspec.json.encode(self._switch.faults))
        if path in self._explain.paths and method == "POST":
            headers = dict(scope["headers"])
            if self._meters.of(headers, asgi.port(scope)).arm == SHADOW:
                raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "Copies are not explained: nobody reads their answer.")
            return await self._explain(path, headers, receive)
        takes_post = path in self._questions or path in self._explain.paths
        if takes_post or (path in self._pages and method not in {"GET", "HEAD"}):
            wanted = "POST" if takes_post else "GET"
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {wanted} requests.")
        if path in self._pages:
            return Answer(self._pages[path])
        if path.startswith(("/v1/", "/v2/")):
            raise self._not_found(path)
        return None

    def _unknown(self, path: str) -> Parse:
        def parse(_: bytes, __: Headers) -> Question:
            raise self._not_found(path)

        return parse

    def _not_found(self, path: str) -> Refusal:
        served = f"version {self._identity.version} of model {self._identity.model!r}"
        return Refusal(HTTPStatus.NOT_FOUND, f"There is no {path} here; this process serves {served}.")

    async def _set_faults(self, headers: Headers, receive: Receive) -> None:
        if self._fault_token is None:
            sentence = "Faults cannot be switched here; start the process with --allow-faults to allow it."
            raise Refusal(HTTPStatus.FORBIDDEN, sentence)
        asgi.require_token(headers, self._fault_token)
        self._switch.set(decode(_faults, await asgi.read_body(receive, headers, _FAULTS_LIMIT_BYTES)))


def _questions(inputs: Inputs, identity: Identity) -> Mapping[str, Parse]:
    model, version = identity.model, identity.version
    infer, predict = inference.Infer(inputs, identity), Predict(inputs)
    return {
        "/rank": Rank(inputs, identity),
        f"/v2/models/{model}/infer": infer,
        f"/v2/models/{model}/versions/{version}/infer": infer,
        f"/v1/models/{model}:predict": predict,
        "/predict": predict,  # as BentoML's service has it, but counted
    }


def _pages(inputs: Inputs, identity: Identity) -> Mapping[str, bytes]:
    encode = msgspec.json.encode
    metadata, ready = inference.model_metadata(inputs, identity), encode({"ready": True})
    named = f"/v2/models/{identity.model}"
    versioned = f"{named}/versions/{identity.version}"
    return {
        "/": encode({"status": "alive"}),  # KServe's V1 client asks for this
        "/v2": inference.server_metadata(),
        "/v2/health/live": encode({"live": True}),
        "/v2/health/ready": ready,
        named: metadata,
        versioned: metadata,
        f"{named}/ready": ready,
        f"{versioned}/ready": ready,
        f"/v1/models/{identity.model}": encode({"name": identity.model, "ready": True}),
    }
