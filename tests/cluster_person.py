"""Somebody at a terminal, who has a cluster."""

import os
import subprocess
import sys
import time
from pathlib import Path

PERCH = Path(sys.executable).parent / "perch"


class Person:
    """Somebody at a terminal, in a folder with a declaration."""

    def __init__(self, folder, kubeconfig, context, namespace):
        self._where = {"cwd": folder, "env": os.environ | {"KUBECONFIG": kubeconfig, "COLUMNS": "200"}, "text": True}
        self._on = ("--context", context, "--namespace", namespace)

    def says(self, *words, code=0, timeout_s=400):
        done = subprocess.run(
            [PERCH, *words, *self._on], capture_output=True, timeout=timeout_s, check=False, **self._where
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def begins(self, *words):
        return subprocess.Popen([PERCH, *words, *self._on], stdout=subprocess.PIPE, **self._where)

    def until_it_serves(self, timeout_s=240):
        for _ in range(timeout_s // 2):
            done = subprocess.run([PERCH, "status", *self._on], capture_output=True, check=False, **self._where)
            if done.returncode == 0:
                return done.stdout
            time.sleep(2)
        raise TimeoutError(done.stderr)
