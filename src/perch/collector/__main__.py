"""Runs the collector of one service: `python -m perch.collector`."""

import argparse
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from perch import asgi
from perch.adapters.events.store import EventStore
from perch.collector.app import Collector
from perch.errors import UsageError, told_in_a_sentence


def main(arguments: list[str] | None = None) -> None:
    """Run the collector until SIGTERM.

    Raises:
        PerchError: the store, a token file or the port cannot be used.
    """
    options = _parser().parse_args(arguments)
    _check_no_password(options.store)
    token, feedback_token = asgi.read_token(options.token_file), asgi.read_token(options.feedback_token_file)
    password = None if options.store_password_file is None else asgi.read_token(options.store_password_file)
    window_s, retention_s = options.attribution_window_s, options.retention_days * 86_400
    with EventStore(options.store, window_s, retention_s=retention_s, password=password) as store:
        app = Collector(
            store,
            token,
            feedback_token,
            options.labels_token_sha256,
            control_token=_optional(options.control_token_file),
            attributes_token=_optional(options.attributes_token_file),
            judge_token=_optional(options.judge_token_file),
        )
        asgi.run(app, options.host, options.port, name="The collector")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.collector", description="Joins outcomes to predictions.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True, help="SQLite file, or URL as postgresql://USER@HOST/DATABASE")
    parser.add_argument("--store-password-file", type=Path, help="file with the password of the URL")
    parser.add_argument(
        "--token-file", type=Path, required=True, help="file with the bearer token of predictions and labels"
    )
    parser.add_argument("--feedback-token-file", type=Path, required=True, help="file with that of outcomes")
    parser.add_argument(
        "--control-token-file", type=Path, help="file with that of exports and deletion; missing: nobody may"
    )
    parser.add_argument(
        "--attributes-token-file", type=Path, help="file with that of sensitive attributes; missing: none are taken"
    )
    parser.add_argument(
        "--judge-token-file", type=Path, help="file with that of the external judge; missing: there is none"
    )
    parser.add_argument("--labels-token-sha256", help="digest of the token of labels, where that is another one")
    parser.add_argument(
        "--attribution-window-s", type=float, required=True, help="longest time to an outcome that counts"
    )
    parser.add_argument(
        "--retention-days", type=float, default=0.0, help="how long events are kept; at least two windows"
    )
    return parser


def _optional(path: Path | None) -> str | None:
    """A token that may be missing: the Secret of an older Perch lacks it, and its collector must go on."""
    return asgi.read_token(path) if path is not None and path.exists() else None


def _check_no_password(store: str) -> None:
    """A command line is seen by everybody on the machine."""
    try:
        has_password = "://" in store and make_url(store).password is not None
    except ArgumentError:
        return  # said where it is opened
    if has_password:
        raise UsageError(
            "The store's URL holds a password, which everybody could see in the list of processes. Put it into a file, "
            "and name that with --store-password-file."
        )


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
