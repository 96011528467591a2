"""An API server in memory, answering lightkube's own clients: what the adapters rely on of a real one, and no more.

`tests/cluster/test_fake_cluster.py` holds it against a real one: which version a write must name, and what a stale or
a missing one is answered with. It knows no schemas, so lists are replaced as a whole, as those of an HTTPRoute are.

What the controllers of a cluster do is done by functions that see each change, as `accept_routes` and `run_versions`.
"""

import asyncio
import copy
import itertools
import json
from collections import defaultdict

import httpx2
from lightkube import AsyncClient, Client, SingleConfig
from lightkube.config.models import Cluster, Context, User

LABELS = {"perch.dev/service": "ads", "app.kubernetes.io/managed-by": "perch"}
NAMESPACE = "shop"
_CONFIG = SingleConfig("fake", Context("fake"), Cluster("http://cluster", insecure=True), User())
_ENDS = None  # of a watch
_OWNERS = {"inferenceservices"}  # what is deleted in the foreground goes after what it owns


class RefusedError(Exception):
    """What the API server answers instead; raise it in an interruption."""

    def __init__(self, code, reason, message="told so"):
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }


class FakeCluster:
    """Objects, by resource, namespace and name."""

    def __init__(self, *controllers):
        self.controllers = list(controllers)
        self.objects = {}
        self.written = []
        """Each write that was let through: its verb, resource and name."""

        self.is_away = False
        self._version = 100
        self._oldest = 100
        self._history = []
        self._watching = set()
        self._applied = {}
        self._pages = {}
        self._page = itertools.count(1)
        self._interruptions = defaultdict(list)
        self.transport = httpx2.MockTransport(self._answer)
        self.client = self.connect(self.transport)

    @property
    def blocking(self):
        """A client that blocks."""
        return Client(_CONFIG, field_manager="perch", transport=self.transport, trust_env=False)

    def connect(self, transport):
        """A client whose requests come by way of `transport`."""
        return AsyncClient(_CONFIG, field_manager="perch", transport=transport, trust_env=False)

    # --- what tests and controllers do ------------------------------------------------------------------------------

    def get(self, resource, name, namespace=NAMESPACE):
        """An object as it is now; `None` when there is none."""
        return copy.deepcopy(self.objects.get((resource, namespace, name)))

    def put(self, resource, manifest, namespace=NAMESPACE):
        """Write an object as somebody who may write all of it."""
        key = resource, namespace, manifest["metadata"]["name"]
        return self._store(key, copy.deepcopy(manifest))

    def change(self, resource, name, **fields):
        """Set top-level fields of an object."""
        return self.put(resource, self.get(resource, name) | fields)

    def remove(self, resource, name, namespace=NAMESPACE):
        """Take an object away at once."""
        key = resource, namespace, name
        gone = self.objects.pop(key)
        self._applied = {made: fields for made, fields in self._applied.items() if made[0] != key}
        self._tell("DELETED", key, {**gone, "metadata": gone["metadata"] | {"resourceVersion": self._next()}})

    def names(self, resource):
        """Names of the objects of a resource."""
        return {name for kind, _, name in self.objects if kind == resource}

    def interrupt(self, verb, effect, *, after=False):
        """Call `effect` once, before the next such request is looked at, or `after` it was carried out."""
        self._interruptions[verb, after].append(effect)

    def forget(self):
        """Forget what was changed so far: a watch that begins before now is too old."""
        self._oldest = self._version
        self._history.clear()

    def hang_up(self):
        """End the watches that are open."""
        for queue in self._watching:
            queue.put_nowait(_ENDS)

    @property
    def watches(self):
        """How many watches are open."""
        return len(self._watching)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _answer(self, request):
        if self.is_away:
            raise httpx2.ConnectError("connection refused", request=request)
        verb = "WATCH" if request.url.params.get("watch") else request.method
        try:
            self._interrupt(verb, after=False)
            response = self._serve(verb, request)
            self._interrupt(verb, after=True)
        except RefusedError as refused:
            return httpx2.Response(refused.code, json=refused.status)
        return response

    def _interrupt(self, verb, *, after):
        if effects := self._interruptions[verb, after]:
            effects.pop(0)()

    def _serve(self, verb, request):
        resource, namespace, name, subresource = _parsed(request.url.path)
        key, params = (resource, namespace, name), request.url.params
        if verb == "WATCH":
            return self._watch(resource, namespace, params)
        if verb == "GET":
            found = self._found(key) if name else self._list(resource, namespace, params)
            return httpx2.Response(200, json=found)
        if verb == "DELETE":
            self._delete(key, json.loads(request.content or b"{}"), params)
            return httpx2.Response(200, json={"kind": "Status", "status": "Success"})
        body = json.loads(request.content)
        if verb == "POST":
            key = resource, namespace, body["metadata"]["name"]
        self.written.append((verb, resource, key[2]))
        write = {"POST": self._create, "PUT": self._replace, "PATCH": self._patch}[verb]
        return httpx2.Response(200, json=write(key, body, request, subresource))

    def _found(self, key):
        if key not in self.objects:
            raise RefusedError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def _list(self, resource, namespace, params):
        if token := params.get("continue"):
            version, items = self._pages.pop(token)
        else:
            version = str(self._version)
            items = [
                copy.deepcopy(one)
                for (kind, where, _), one in sorted(self.objects.items())
                if kind == resource and namespace in {None, where} and _matches(one, params)
            ]
        limit = int(params.get("limit") or len(items) or 1)
        metadata = {"resourceVersion": version}
        if rest := items[limit:]:
            metadata["continue"] = str(next(self._page))
            self._pages[metadata["continue"]] = (version, rest)
        return {"kind": "List", "metadata": metadata, "items": items[:limit]}

    def _create(self, key, body, _request, _subresource):
        if key in self.objects:
            raise RefusedError(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
        return self._store(key, body)

    def _replace(self, key, body, _request, _subresource):
        live = self._found(key)
        _check_version(body, live)
        return self._store(key, body)

    def _patch(self, key, body, request, subresource):
        if "apply" in request.headers["content-type"]:
            return self._apply(key, body, request.url.params["fieldManager"])
        live = self._found(key)
        _check_version(body, live)
        if subresource == "status":  # nothing else is changed by way of it
            body = {"status": body["status"]}
        return self._store(key, _merged(live, body))

    def _apply(self, key, body, manager):
        live, made_by = self.objects.get(key, {}), (key, manager)
        given = body["metadata"].pop("resourceVersion", "")
        if live and given is None:
            raise RefusedError(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
        if live and given:
            _check_version({"metadata": {"resourceVersion": given}}, live)
        kept = _without(live, self._applied.get(made_by, {}), body)
        self._applied[made_by] = copy.deepcopy(body)
        return self._store(key, _merged(kept, body))

    def _delete(self, key, options, params):
        found = copy.deepcopy(self._found(key))
        self.written.append(("DELETE", key[0], key[2]))
        policy = options.get("propagationPolicy") or params.get("propagationPolicy")
        if policy == "Foreground" and key[0] in _OWNERS:
            found["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"}
            self._store(key, found)
        else:
            self.remove(key[0], key[2], key[1])

    # --- changes ----------------------------------------------------------------------------------------------------

    def _store(self, key, manifest):
        """Keep an object, with what the API server adds to its metadata, and tell those who watch."""
        before = self.objects.get(key)
        old = before["metadata"] if before else {"uid": f"uid-{self._version}", "generation": 0}
        is_same_wish = before is not None and before.get("spec") == manifest.get("spec")
        metadata = manifest["metadata"] | {
            "namespace": key[1],
            "uid": old["uid"],
            "generation": old["generation"] if is_same_wish else old["generation"] + 1,
            "resourceVersion": old.get("resourceVersion"),
        }
        stored = {**manifest, "metadata": metadata}
        if stored == before:  # a write that changes nothing is none
            return stored
        metadata["resourceVersion"] = self._next()
        self.objects[key] = stored
        self._tell("ADDED" if before is None else "MODIFIED", key, stored)
        return self.objects.get(key, stored)

    def _next(self):
        self._version += 1
        return str(self._version)

    def _tell(self, change, key, manifest):
        told = (int(manifest["metadata"]["resourceVersion"]), change, key, copy.deepcopy(manifest))
        self._history.append(told)
        for queue in self._watching:
            queue.put_nowait(told)
        for control in self.controllers:
            control(self, change, key[0], copy.deepcopy(manifest))

    def _watch(self, resource, namespace, params):
        since = int(params.get("resourceVersion", 0))
        if since < self._oldest:
            too_old = RefusedError(410, "Expired", f"too old resource version: {since} ({self._oldest})").status
            return httpx2.Response(200, content=_lines(_one({"type": "ERROR", "object": too_old})))

        def is_meant(told):
            return told[0] > since and told[2][0] == resource and namespace in {None, told[2][1]}

        async def events():
            queue = asyncio.Queue()
            for told in self._history:
                queue.put_nowait(told)
            self._watching.add(queue)
            try:
                while (told := await queue.get()) is not _ENDS:
                    if is_meant(told) and _matches(told[3], params):
                        yield {"type": told[1], "object": told[3]}
            finally:
                self._watching.discard(queue)

        return httpx2.Response(200, content=_lines(events()))


async def _one(event):
    yield event


async def _lines(events):
    async for event in events:
        yield json.dumps(event).encode() + b"\n"


def _parsed(path):
    """Resource, namespace (`None`: all), name and subresource of a URL's path, each `None` where there is none."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = None
    if rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, None, None)[:3]
    return resource, namespace, name, subresource


def _matches(manifest, params):
    """Whether the labels are those that a selector names: `LABEL` or `LABEL=VALUE`, with commas between."""
    labels = manifest["metadata"].get("labels") or {}
    wanted = [one.partition("=") for one in params.get("labelSelector", "").split(",") if one]
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in wanted)


def _check_version(body, live):
    given = body["metadata"].get("resourceVersion") if "metadata" in body else None
    if given is not None and given != live["metadata"]["resourceVersion"]:
        raise RefusedError(409, "Conflict", "the object has been modified; please apply your changes to the latest")


def _merged(live, patch):
    """RFC 7396; in what is applied there is no null."""
    if not isinstance(live, dict) or not isinstance(patch, dict):
        return patch
    given = {name: _merged(live.get(name, {}), value) for name, value in patch.items() if value is not None}
    return {name: value for name, value in live.items() if name not in patch} | given


def _without(live, last, now):
    """What is there, less the fields that were applied last and are no longer."""
    return {
        name: _without(value, last[name], now[name])
        if isinstance(value, dict) and isinstance(last.get(name), dict) and isinstance(now.get(name), dict)
        else value
        for name, value in live.items()
        if name in now or name not in last
    }


# --- controllers ----------------------------------------------------------------------------------------------------


def accept_routes(cluster, change, resource, route):
    """The gateway's controller takes each route as it is."""
    generation = route["metadata"]["generation"]
    if resource != "httproutes" or change == "DELETED":
        return
    told = [
        {"type": kind, "status": "True", "reason": kind, "observedGeneration": generation}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    cluster.change("httproutes", route["metadata"]["name"], status={"parents": [{"conditions": told}]})


def run_versions(cluster, change, resource, version):
    """KServe, and Kubernetes with it: one pod a version, which is ready at once and goes with its object."""
    if resource != "inferenceservices" or change == "DELETED":
        return
    name, metadata = version["metadata"]["name"], version["metadata"]
    if "deletionTimestamp" in metadata:
        finish_deletion(cluster, name)
        return
    cluster.put("pods", pod(f"{name}-pod", metadata["labels"]))
    told = {"observedGeneration": metadata["generation"], "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.change("inferenceservices", name, status=told)


def finish_deletion(cluster, name):
    """The pods of a version have ended, and so it is gone."""
    for one in [one for one in cluster.names("pods") if one.startswith(name)]:
        cluster.remove("pods", one)
    cluster.remove("inferenceservices", name)


def pod(name, labels, *, ready=True, **status):
    """A pod that runs."""
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "kserve-container"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions} | status,
    }
