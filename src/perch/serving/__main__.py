"""Serves one version of one model: `python -m perch.serving --package DIR --digest SHA256 --model NAME ...`."""

import argparse
from contextlib import nullcontext
from pathlib import Path

from perch import asgi
from perch.errors import ModelError, PlatformError, UsageError, told_in_a_sentence
from perch.serving.app import Application
from perch.serving.attributing import Attributing
from perch.serving.bento import bento_app
from perch.serving.context import Context
from perch.serving.emitter import Emitter
from perch.serving.faults import FaultSwitch
from perch.serving.journal import Journal
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import Score, check, score_with
from perch.serving.sketches import Sketcher
from perch.signals import names
from perch.workload.attribution import Attributor
from perch.workload.model import Additive
from perch.workload.package import load_package, read_manifest
from perch.workload.schema import Schema


def main(arguments: list[str] | None = None) -> None:
    """Load the package, check it, and answer until SIGTERM.

    Raises:
        UsageError: the options contradict each other, or the token file cannot be read.
        ModelError: the package is corrupt, has another digest, or its model cannot score.
        PlatformError: the port is taken, or the folder of the journal cannot be used.
    """
    options = _parser().parse_args(arguments)
    fault_token = _token(options, "--allow-faults", "--token-file")
    collector_token = _token(options, "--collector", "--collector-token-file")
    scorer = load_package(options.package, options.digest)
    profile = read_manifest(options.package, options.digest).profile
    trained = () if profile is None else profile.attributions
    score = score_with(scorer, None if profile is None else Sketcher(profile, scorer.transform))
    _try_out(score, scorer.schema)
    attributor = Attributor(scorer) if isinstance(scorer.estimator, Additive) else None
    identity = Identity(options.model, options.version)
    grid = names.grid(options.slo_latency_ms)
    meters = Meters(identity, grid, scorer.schema, profile=profile, mirror_port=options.mirror_port)
    switch = FaultSwitch(score, scorer.schema)
    emitter = _emitter(options, collector_token, meters) if collector_token else None
    context = Context(
        scorer.schema,
        features=scorer.transform.names,
        user_column=options.user_column,
        features_share=options.features_share,
    )
    attributing = None if attributor is None else Attributing(attributor, trained)
    predictor = Predictor(
        identity, switch, meters, emitter.offer if emitter else _ignore, context, attributing=attributing
    )
    app = Application(
        identity,
        scorer.schema,
        predictor,
        meters,
        switch,
        fault_token=fault_token,
        rest=bento_app(scorer.schema, score),
        attributor=attributor,
    )
    name = f"The server of {identity.model} version {identity.version}"
    ports = [options.port] if options.mirror_port is None else [options.port, options.mirror_port]
    asgi.run(app, options.host, *ports, name=name, beside=emitter or nullcontext())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.serving", description="Serves one version of one model.")
    parser.add_argument("--package", type=Path, required=True, help="folder of the packaged model")
    parser.add_argument("--digest", required=True, help="sha256 that the package's manifest must have")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--version", required=True, help="version of the model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mirror-port", type=int, help="a second port, where every request is a mirrored one")
    parser.add_argument("--slo-latency-ms", type=float, required=True, help="becomes an edge of the latency histogram")
    parser.add_argument("--collector", help="base URL that is told each prediction")
    parser.add_argument("--collector-token-file", type=Path, help="file with the collector's bearer token")
    parser.add_argument(
        "--journal", type=Path, help="folder for predictions that the collector has not acknowledged yet"
    )
    parser.add_argument("--user-column", help="input that says who is shown the answer")
    parser.add_argument("--features-share", type=float, default=0.0, help="share of requests whose inputs are told")
    parser.add_argument("--token-file", type=Path, help="file with the bearer token of /faults")
    parser.add_argument("--allow-faults", action="store_true", help="let /faults be switched; needs --token-file")
    return parser


def _emitter(options: argparse.Namespace, token: str, meters: Meters) -> Emitter:
    try:
        journal = None if options.journal is None else Journal(options.journal)
        return Emitter(options.collector, token, meters.drop_events, journal=journal)
    except OSError as error:
        raise PlatformError(
            f"The folder {options.journal} cannot be used ({error.strerror}); name another one with --journal."
        ) from None


def _token(options: argparse.Namespace, asked: str, needs: str) -> str | None:
    """The token that an option needs; `None` when it is not given."""
    given = {f"--{name.replace('_', '-')}": value for name, value in vars(options).items()}
    if not given[asked]:
        return None
    if given[needs] is None:
        raise UsageError(f"{asked} needs a token; name a file that holds one with {needs}.")
    return asgi.read_token(given[needs])


def _try_out(score: Score, schema: Schema) -> None:
    """Score one row before anybody asks: a model that cannot must not take traffic."""
    try:
        check(score({name: [None] for name in schema.inputs}).probabilities, rows=1)
    except Exception as error:
        raise ModelError(f"The model loads but cannot score ({error}); package it again.") from error


def _ignore(*_: object) -> None:
    """Nobody wants to be told of predictions."""


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
