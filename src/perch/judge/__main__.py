"""Judges the windows of one collector for as long as it runs: `python -m perch.judge`.

Everything is remembered by the collector: it says what is to be judged next, and takes no window twice. So a judge that
is killed, or runs twice, changes nothing but the time.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final

import httpx
import msgspec

from perch import asgi
from perch.errors import PerchError, UsageError
from perch.signals.judging import STRETCH_S, Window

_TIMEOUT_S: Final = 10.0
_TOKEN_WAIT_S: Final = 60.0
_NICE: Final = 10  # no request waits for it

_log = logging.getLogger(__name__)

_window = msgspec.json.Decoder(Window | None)


def main(arguments: list[str] | None = None) -> None:
    """Judge until SIGTERM.

    Raises:
        UsageError: the token file cannot be read.
    """
    options = _parser().parse_args(arguments)
    os.nice(_NICE)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    headers = {"authorization": f"Bearer {_token(options.token_file)}"}
    with httpx.Client(base_url=options.collector, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as client:
        while True:
            if not _judge_next(client):
                time.sleep(STRETCH_S)


def _judge_next(client: httpx.Client) -> bool:
    """Judge a window, if there is one; returns whether there was."""
    from perch.judge.comparison import compare  # Evidently takes ten seconds

    try:
        window = _window.decode(client.get("/v1/window").raise_for_status().content)
        if window is None:
            return False
        judged = compare(window)
        client.post("/v1/judgements", content=msgspec.json.encode(judged)).raise_for_status()
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        _log.warning("The collector gives or takes nothing, and is asked again: %s", error)
        return False
    _log.info("p = %.3g: %s.", judged.p_value, judged.finding or "nothing to tell apart")
    return True


def _token(path: Path) -> str:
    """The token, as soon as the collector has made it."""
    deadline = time.monotonic() + _TOKEN_WAIT_S
    while True:
        try:
            return asgi.read_token(path)
        except UsageError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.judge", description="Judges windows of sampled inputs.")
    parser.add_argument("--collector", required=True, help="base URL of the collector")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the judge's bearer token")
    return parser


if __name__ == "__main__":
    try:
        main()
    except PerchError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the command's only output
        sys.exit(problem.exit_code)
