"""A stand-in for `kubectl`, and for the cluster behind it, in the folder that FAKE_CLUSTER names.

`objects.json` holds the objects by `kind/name`; a change of one is answered at once by what `operator.json` says of it,
as an operator would. Every call is kept in `calls.jsonl`. `trouble` is said in place of any answer.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_CLUSTER"])


def main(words):
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    assert words.pop(0) == "--context", "the context is always named"
    words.pop(0)
    if (HOME / "trouble").exists():
        sys.exit((HOME / "trouble").read_text())
    {"config": config, "get": get, "patch": patch, "exec": execute, "port-forward": forward}[words[0]](words)


def config(_):
    sys.stdout.write("shop")


def get(words):
    kind, objects = words[1], read("objects.json")
    if "--selector" in words:
        labels = dict(pair.split("=") for pair in words[words.index("--selector") + 1].split(","))
        items = [one for name, one in objects.items() if name.startswith(f"{kind}/") and has(one, labels)]
        sys.stdout.write(json.dumps({"items": items}))
        return
    if f"{kind}/{words[2]}" not in objects:
        sys.exit(f'Error from server (NotFound): {kind} "{words[2]}" not found')
    sys.stdout.write(json.dumps(objects[f"{kind}/{words[2]}"]))


def has(one, labels):
    return labels.items() <= one["metadata"].get("labels", {}).items()


def patch(words):
    name, change, objects = (
        f"{words[1]}/{words[2]}",
        json.loads(words[words.index("--patch") + 1]),
        read("objects.json"),
    )
    found = objects[name]
    if "spec" in change:
        found["spec"] |= change["spec"]
        found["metadata"]["generation"] += 1
    asked = change.get("metadata", {}).get("annotations", {}).get("perch.dev/request")
    written = json.dumps(found)
    found["status"] |= answer(found["metadata"]["generation"], asked and json.loads(asked)["id"])
    (HOME / "objects.json").write_text(json.dumps(objects))
    sys.stdout.write(written)


def answer(generation, request):
    status = read("operator.json")
    for condition in status.get("conditions", []):
        condition["observedGeneration"] = generation
    return status | ({"request": request} if request and status else {})


def execute(words):
    command = [word.replace("/var/lib/perch", str(HOME / "ledgers")) for word in words[words.index("--") + 1 :]]
    if (code := subprocess.run(command, check=False).returncode) != 0:
        sys.exit(f"command terminated with exit code {code}")


def forward(_):
    sys.stdout.write(f"Forwarding from 127.0.0.1:{(HOME / 'port').read_text()} -> 8080\n")
    sys.stdout.flush()
    time.sleep(60)


def read(name):
    return json.loads((HOME / name).read_text())


main(sys.argv[1:])
